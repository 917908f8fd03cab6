import type { Config } from '../model/config.js'
import { printPlaces, readPlaces, type WrittenPlaces } from '../layers/written-places.js'
import { yamlPackage } from '../yaml/yaml-package.js'

export interface ConfigParts {
  /** Absolute path of the operator's file, if it had a part in this. */
  readonly operatorFile?: string | undefined
  /** Absolute path of the workspace's file, if it had a part in this. */
  readonly workspaceFile?: string | undefined
  /** Where in those files what is in force was written. */
  readonly places?: WrittenPlaces | undefined
  /** Why the operator's file cannot be used, and what is in force instead. */
  readonly trouble?: string | undefined
}

const FIRST_LINE =
  '# The configuration in force, written by discobot at its start from the files below and the shipped'
const OPERATOR_LINE = '# operator: '
const TROUBLE_LINE = '# trouble: '
const PLACES_LINE = '# written at: '

/** The configuration as a file, with a comment that says which files it was made of. */
export function renderConfig(config: Config, parts: ConfigParts): string {
  const head = [
    FIRST_LINE,
    '# default. Changes made here are lost at the next start. Header values are in it as they were given.',
    OPERATOR_LINE + nameOf(parts.operatorFile),
    `# workspace: ${nameOf(parts.workspaceFile)}`,
    ...(parts.trouble === undefined ? [] : [TROUBLE_LINE + JSON.stringify(parts.trouble)]),
    ...placesLine(parts.places ?? {}),
  ]
  const { stringify } = yamlPackage()
  // Lines are not folded: a value that goes on in the next line is hard to compare.
  const body = stringify({ end_marker: true, ...config }, { lineWidth: 0, aliasDuplicateObjects: false })
  return `${head.join('\n')}\n\n${body}...\n`
}

/** Whether a text is a configuration that was put together of others, and will be again. */
export function isRendered(text: string): boolean {
  return text.startsWith(FIRST_LINE)
}

/** Where what a rendered configuration says was written, in the files that it was made of. */
export function readPlacesLine(text: string): WrittenPlaces {
  const line = isRendered(text) ? headLine(text, PLACES_LINE) : undefined
  return line === undefined ? {} : readPlaces(line)
}

function placesLine(places: WrittenPlaces): readonly string[] {
  const printed = Object.keys(places).length === 0 ? undefined : printPlaces(places)
  return printed === undefined ? [] : [PLACES_LINE + printed]
}

function headLine(text: string, mark: string): string | undefined {
  const [head = ''] = text.split('\n\n', 1)
  return head
    .split('\n')
    .find((candidate) => candidate.startsWith(mark))
    ?.slice(mark.length)
}

/** The operator's file that a rendered configuration was made of. */
export function readOperatorLine(text: string): string | undefined {
  return textIn(headLine(text, OPERATOR_LINE))
}

/** Why the operator's file could not be used when this was rendered; undefined while it is in force. */
export function readTroubleLine(text: string): string | undefined {
  return isRendered(text) ? textIn(headLine(text, TROUBLE_LINE)) : undefined
}

function textIn(line: string | undefined): string | undefined {
  if (line === undefined) return undefined
  try {
    const name: unknown = JSON.parse(line)
    return typeof name === 'string' ? name : undefined
  } catch {
    return undefined
  }
}

/** As JSON, so that no character of a path can begin a line of its own. */
function nameOf(file: string | undefined): string {
  return file === undefined ? 'none' : JSON.stringify(file)
}
