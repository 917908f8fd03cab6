import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { reasonOf } from '../../base/errors.js'
import { orderProblems, type Problem } from '../../config/yaml/problem.js'
import { readTextFile } from '../../base/files/text-file.js'
import { parseServices, type ParsedServices, type ServiceEntry } from './file-format.js'

/** Who wrote the file: the image's maker, or whoever wrote the repository. */
export type ServiceSource = 'image' | 'workspace'

export interface FileService extends ServiceEntry {
  readonly source: ServiceSource
}

export interface LoadedServices {
  /** Each after all it depends on. */
  readonly services: readonly FileService[]
  readonly problems: readonly Problem[]
}

export interface ServiceFiles {
  /** Folder whose `*.yaml` describe services, in the order of their names. */
  readonly imageFolder: string
  readonly workspace: string
  /** Account that services of a workspace run as. */
  readonly workspaceUser: string
  /** Then none of them is taken. */
  readonly workspaceUserIsRoot: boolean
  /** Built-in services: a dependency may name the running ones, and no file may take any of these names. */
  readonly builtIn: readonly string[]
  readonly running: readonly string[]
}

export const WORKSPACE_FILE = '.discobot/services.yaml'
/** As for the workspace's proxy configuration. */
const MAX_BYTES = 128 * 1024

interface Located extends FileService {
  readonly file: string
}

/** Reads all files that add services. Never rejects: what is wrong costs the service it is in, and is told. */
export async function loadServices(files: ServiceFiles): Promise<LoadedServices> {
  const problems: Problem[] = []
  const found = new Map<string, Located>()
  const take = async (file: string, path: string, source: ServiceSource): Promise<void> => {
    const within = source === 'workspace' ? { within: files.workspace } : {}
    const read = await readTextFile(path, { maxBytes: MAX_BYTES, ...within })
    if (read.kind === 'absent') return
    if (read.kind === 'unreadable') {
      problems.push({ kind: 'unreadable', file, message: `not usable: ${read.reason}` })
      return
    }
    const { entries, complaints } = parsed(read.text)
    problems.push(...orderProblems(complaints.map((complaint) => ({ kind: 'invalid', file, ...complaint }))))
    for (const entry of entries) {
      const located = { ...entry, source, file }
      const refusal = refusalOf(located, files, found)
      if (refusal === undefined) found.set(entry.name, located)
      else problems.push(refusal)
    }
  }
  for (const name of await yamlFiles(files.imageFolder)) {
    const path = join(files.imageFolder, name)
    await take(path, path, 'image')
  }
  await take(WORKSPACE_FILE, join(files.workspace, WORKSPACE_FILE), 'workspace')
  return { services: inOrder(found, files.running, problems), problems }
}

/** A text that ends the parser itself, as none should, costs its own file and no other. */
function parsed(text: string): ParsedServices {
  try {
    return parseServices(text)
  } catch (error) {
    const message = `it cannot be understood: ${reasonOf(error)}; write it in a simpler way`
    return { entries: [], complaints: [{ mark: { line: 1, col: 1 }, message }] }
  }
}

async function yamlFiles(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => [])
  return names.filter((name) => name.endsWith('.yaml') && !name.startsWith('.')).sort()
}

function refusalOf(
  entry: Located,
  { builtIn, workspaceUser, workspaceUserIsRoot }: ServiceFiles,
  found: ReadonlyMap<string, Located>,
): Problem | undefined {
  const { name, file, source, mark } = entry
  const refused = (at: Problem['mark'], message: string): Problem => ({
    kind: 'refused',
    file,
    ...(at === undefined ? {} : { mark: at }),
    message,
  })
  if (builtIn.includes(name))
    return refused(mark, `service ${JSON.stringify(name)}: the name of a built-in service`)
  const other = found.get(name)
  if (other !== undefined)
    return refused(mark, `service ${JSON.stringify(name)}: ${other.file} has one of that name`)
  if (source === 'workspace' && workspaceUserIsRoot) {
    return refused(mark, 'services of a workspace never run as root, which DISCOBOT_USER names')
  }
  if (source === 'workspace' && entry.user !== undefined && entry.user !== workspaceUser) {
    return refused(entry.userMark, `services of a workspace run as ${workspaceUser}; leave "user" out`)
  }
  if (source === 'workspace' && entry.essential)
    return refused(
      entry.essentialMark,
      'services of a workspace do not end the container; leave "essential" out',
    )
  return undefined
}

/** Takes a service once all it depends on has been taken; what is left then depends on what is not there. */
function inOrder(
  found: ReadonlyMap<string, Located>,
  running: readonly string[],
  problems: Problem[],
): FileService[] {
  const taken = new Set(running)
  const ordered: FileService[] = []
  let left = [...found.values()]
  for (;;) {
    const ready = left.filter(({ depends }) => depends.every((name) => taken.has(name)))
    if (ready.length === 0) break
    for (const service of ready) taken.add(service.name)
    ordered.push(...ready)
    left = left.filter((service) => !ready.includes(service))
  }
  for (const { name, file, depends, dependsMarks } of left) {
    const index = depends.findIndex((needed) => !taken.has(needed))
    const needed = depends[index] ?? ''
    const why = found.has(needed) ? 'which cannot be started before it, or at all' : 'which is not there'
    const mark = dependsMarks[index]
    const message = `service ${JSON.stringify(name)} depends on ${JSON.stringify(needed)}, ${why}`
    problems.push({ kind: 'invalid', file, ...(mark === undefined ? {} : { mark }), message })
  }
  return ordered
}
