import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

type Command = readonly [string, ...string[]]

/** The other programs of ours, as commands to which arguments can be added. */
export interface Programs {
  readonly proxy: Command
  readonly agentApi: Command
  /** What Node processes load so that `fetch` uses the proxy; absent where Node knows NODE_USE_ENV_PROXY. */
  readonly fetchPreload?: string | undefined
}

export interface ProgramDeps {
  /** Node itself. */
  readonly execPath: string
  /** `import.meta.url` of a module in the built `agent` folder, or of the bundle, where the programs are side by side. */
  readonly moduleUrl: string
  /** Where an image has its bundled programs. */
  readonly imageBin: string
  /** Whether this Node knows NODE_USE_ENV_PROXY by itself, as the others of the container presumably do. */
  readonly knowsEnvProxy: () => boolean
}

/** The image's bundled programs start faster; a checkout runs what was built beside the agent, a bundle its own. */
export function findPrograms({ execPath, moduleUrl, imageBin, knowsEnvProxy }: ProgramDeps): Programs {
  const choose = (name: string, built: string): Command => {
    const bundled = [join(imageBin, name), fileURLToPath(new URL(`./${name}.cjs`, moduleUrl))].find(
      isExecutable,
    )
    // Not by its own first line, which would have env(1) look for Node: 1 ms.
    return [execPath, bundled ?? fileURLToPath(new URL(built, moduleUrl))]
  }
  return {
    proxy: choose('proxy', '../proxy/main.js'),
    agentApi: choose('agent-api', './api/main.js'),
    get fetchPreload() {
      return knowsEnvProxy() ? undefined : fileURLToPath(new URL('./preload/node-fetch.cjs', moduleUrl))
    },
  }
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
