import type { Config } from './config.js'
import { yamlPackage } from './yaml-package.js'

export interface ConfigParts {
  /** Absolute path of the operator's file, if it had a part in this. */
  readonly operatorFile?: string | undefined
  /** Absolute path of the workspace's file, if it had a part in this. */
  readonly workspaceFile?: string | undefined
}

const FIRST_LINE =
  '# The configuration in force, written by discobot at its start from the files below and the shipped'
const OPERATOR_LINE = '# operator: '

/** The configuration as a file, with a comment that says which files it was made of. */
export function renderConfig(config: Config, parts: ConfigParts): string {
  const head = [
    FIRST_LINE,
    '# default. Changes made here are lost at the next start. Header values are in it as they were given.',
    OPERATOR_LINE + nameOf(parts.operatorFile),
    `# workspace: ${nameOf(parts.workspaceFile)}`,
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

/** The operator's file that a rendered configuration was made of. */
export function readOperatorLine(text: string): string | undefined {
  const [head = ''] = text.split('\n\n', 1)
  const line = head.split('\n').find((candidate) => candidate.startsWith(OPERATOR_LINE))
  if (line === undefined) return undefined
  try {
    const name: unknown = JSON.parse(line.slice(OPERATOR_LINE.length))
    return typeof name === 'string' ? name : undefined
  } catch {
    return undefined
  }
}

/** As JSON, so that no character of a path can begin a line of its own. */
function nameOf(file: string | undefined): string {
  return file === undefined ? 'none' : JSON.stringify(file)
}
