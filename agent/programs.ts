import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

type Command = readonly [string, ...string[]]

/** The other programs of ours, as commands to which arguments can be added. */
export interface Programs {
  readonly proxy: Command
  readonly agentApi: Command
}

export interface ProgramDeps {
  /** Node itself. */
  readonly execPath: string
  /** `import.meta.url` of a module in the built `agent` folder, or of the bundle. */
  readonly moduleUrl: string
  /** Where an image has its bundled programs. */
  readonly imageBin: string
}

/** The image's bundled programs start faster; a checkout runs what was built beside the agent. */
export function findPrograms({ execPath, moduleUrl, imageBin }: ProgramDeps): Programs {
  const choose = (name: string, built: string): Command => {
    const bundled = join(imageBin, name)
    return isExecutable(bundled) ? [bundled] : [execPath, fileURLToPath(new URL(built, moduleUrl))]
  }
  return { proxy: choose('proxy', '../proxy/main.js'), agentApi: choose('agent-api', './api/main.js') }
}

/** Full path of a program that the search path leads to. */
export function findOnPath(program: string, path: string): string | undefined {
  return path
    .split(delimiter)
    .filter((folder) => folder.startsWith('/'))
    .map((folder) => join(folder, program))
    .find(isExecutable)
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
