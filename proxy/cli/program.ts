import { command, type Command, type Program } from '../../base/cli/command.js'
import { completionCommand } from '../../base/cli/completion-command.js'
import { CommandLineError } from '../../base/cli/errors.js'
import type { Outputs } from '../../base/cli/terminal.js'
import { standardCommands } from '../../base/cli/standard-commands.js'
import { FILE, PORT, text } from '../../base/cli/values.js'
import { PROXY_API_PORT } from '../../config/model/paths.js'
import type { ArchiveCommandDeps } from './archive-command.js'
import type { ApiAccess } from './api-access.js'

/** The table needs these of the process; `main.ts` provides them. */
export interface ProxyEntry extends Outputs {
  readonly version: string
  /** Resolves when the proxy serves, which it then does until a signal ends it. */
  serve(configFile: string | undefined): Promise<undefined>
  /** The folder of certificates and cache. */
  dataDir(): string
  /** Access to the API of the proxy that runs. */
  access(): Promise<ApiAccess>
  archive(): Promise<ArchiveCommandDeps>
  /** Calls back when the person has had enough. */
  onInterrupt(interrupt: () => void): void
}

const CONFIG_OPTION = { short: 'c', value: FILE, oneDash: true } as const
const API_PORT_OPTION = {
  value: PORT,
  help: `of the API of the proxy that runs; ${PROXY_API_PORT} unless given`,
} as const
const JSON_OPTION = { help: 'for programs: JSON instead of text' } as const
const METHOD = text('METHOD', ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])
const PLATFORM = text('OS/ARCH', ['linux/amd64', 'linux/arm64', 'linux/arm/v7', 'linux/386', 'linux/s390x'])

/** Everything that `discobot-proxy` understands. Each row brings in what does its work when it is chosen. */
export function proxyProgram(entry: ProxyEntry): Program {
  const program: Program = {
    name: 'discobot-proxy',
    version: entry.version,
    byDefault: 'run',
    about: ['The caching HTTPS proxy of Discobot. Without --config the built-in defaults apply.'],
    notes: [
      'DISCOBOT_DATA_DIR is where certificates and cache go unless the configuration says otherwise: /.data where that is there, else ./.data. The configuration names the variables that hold secrets.',
      'SIGHUP reads the configuration again; SIGTERM ends what is under way and exits with 0.',
    ],
    commands: [
      runCommand(entry),
      explainCommand(entry),
      cacheCommand(entry),
      prewarmCommand(entry),
      ...archiveCommands(entry),
      ...standardCommands(() => program, entry),
      completionCommand(() => program, entry),
    ],
  }
  return program
}

function runCommand({ serve }: ProxyEntry): Command {
  return command({
    name: 'run',
    summary: 'serve until a signal ends it; the same without a command',
    options: { config: { ...CONFIG_OPTION, help: 'YAML configuration' } },
    args: {},
    examples: [
      { line: '--config proxy.yaml', does: 'serve as this file says' },
      { line: 'run', does: 'serve with the built-in defaults' },
    ],
    exits: { 0: 'it was stopped', 1: 'it cannot start' },
    run: ({ options: { config } }) => serve(config),
  })
}

function explainCommand({ stdout, dataDir, access }: ProxyEntry): Command {
  return command({
    name: 'explain',
    summary: 'what the proxy would do with a request, and which line makes it do so',
    about: [
      'Says what the proxy would do with a request, and which line of the configuration makes it do so: the proxy that runs, by what is in force there, or with --config any proxy, by that file. Nothing but the address of the name is looked up. Values of headers are not shown.',
    ],
    options: {
      config: { ...CONFIG_OPTION, help: 'YAML configuration, whatever a proxy that runs has in force' },
      'api-port': API_PORT_OPTION,
      json: JSON_OPTION,
    },
    args: {
      method: { value: METHOD, help: 'of the request, such as GET' },
      url: { value: text('URL'), help: 'http://HOST/PATH or https://HOST/PATH' },
    },
    examples: [
      { line: 'explain GET https://registry.npmjs.org/left-pad', does: 'ask the proxy that runs' },
      { line: 'explain POST http://localhost/ --config proxy.yaml', does: 'ask a file before it is used' },
    ],
    exits: { 0: 'allowed', 1: 'it cannot be told', 3: 'blocked' },
    run: async ({ args, options: { config, 'api-port': apiPort, json } }) => {
      const [{ explainRequest }, { ExplainUsageError }] = await Promise.all([
        import('./explain-command.js'),
        import('../explain/explain-question.js'),
      ])
      try {
        const { output, exitCode } = await explainRequest(
          { ...args, config, apiPort, json },
          dataDir(),
          access,
        )
        stdout.write(output)
        return exitCode
      } catch (error) {
        if (!(error instanceof ExplainUsageError)) throw error
        throw new CommandLineError(error.message, { cause: error })
      }
    },
  })
}

function cacheCommand({ stdout }: ProxyEntry): Command {
  return command({
    name: 'cache',
    summary: 'what the cache of the proxy that runs has saved, and what is in it',
    about: [
      'Says what the cache of the proxy that runs has saved since its start, in all and by rule, and which of its entries are the largest.',
    ],
    options: { 'api-port': API_PORT_OPTION, json: { help: 'the figures of GET /api/cache/stats' } },
    args: {},
    examples: [
      { line: 'cache', does: 'hit rate, saved bytes, rules, largest entries' },
      { line: 'cache --json', does: 'the figures for programs' },
    ],
    exits: { 0: 'the proxy has answered', 1: 'no proxy answers' },
    run: async ({ options: { 'api-port': apiPort, json } }) => {
      const { describeCache } = await import('./cache-command.js')
      stdout.write(await describeCache({ apiPort, json }, stdout))
      return 0
    },
  })
}

function prewarmCommand({ stdout, access, onInterrupt }: ProxyEntry): Command {
  return command({
    name: 'prewarm',
    summary: 'has the proxy that runs fetch images and URLs into its cache',
    about: [
      'Has the proxy that runs fetch images (their manifests, configuration and layers) and URLs, so that its cache has them when they are asked for. Names are those of docker pull; an https:// in front makes it a URL.',
      'A proxy that wants a name and a password (proxy.auth) takes them from HTTP_PROXY, or the token of <data>/proxy/api-token from those who can read it.',
    ],
    options: {
      platform: {
        value: PLATFORM,
        help: 'of an image for several platforms, such as linux/arm64; that of this machine unless given',
      },
      'api-port': API_PORT_OPTION,
      json: { help: 'for programs: a line of JSON for each report' },
    },
    args: { references: { value: text('IMAGE|URL'), many: true, help: 'name an image or a URL' } },
    examples: [
      { line: 'prewarm alpine:3.20 ghcr.io/you/app:1.4', does: 'fetch two images' },
      { line: 'prewarm --platform linux/arm64 node:24', does: 'fetch an image for another machine' },
      { line: 'prewarm https://example.com/tool.tgz', does: 'fetch a URL' },
    ],
    exits: { 0: 'all is there', 1: 'something is not', 130: 'interrupted' },
    run: async ({ args: { references }, options: { platform, 'api-port': apiPort, json } }) => {
      const { prewarm } = await import('./prewarm-command.js')
      const screen = {
        isTTY: stdout.isTerminal,
        get columns() {
          return stdout.columns
        },
        colour: stdout.colour,
        write: stdout.write,
      }
      return prewarm({ references, platform, apiPort, json }, screen, onInterrupt, await access())
    },
  })
}

function archiveCommands({ archive, stdout }: ProxyEntry): readonly Command[] {
  const about =
    'A proxy that runs on the cache does it; without one it is done in the directory of the cache. Root may always do it.'
  const options = {
    config: { ...CONFIG_OPTION, help: 'YAML configuration of the proxy; says where the cache is' },
    'api-port': {
      value: PORT,
      help: 'of the API of a proxy that runs; that of the configuration unless given',
    },
  } as const
  const exits = { 0: 'done', 1: 'not done, or not wholly' }
  return [
    command({
      name: 'export',
      summary: 'writes the cache as a tar',
      about: ['Writes the cache, or a part of it, as a tar.', about],
      options: {
        output: { short: 'o', value: FILE, help: 'standard output unless given, or "-"' },
        rule: { value: text('NAME', ruleNames), many: true, help: 'only what this rule keeps' },
        ...options,
      },
      args: {},
      surplus: 'name the file with -o',
      examples: [
        { line: 'export -o warm.tar', does: 'all of the cache' },
        { line: 'export -o npm.tar --rule npm', does: 'what one rule keeps' },
      ],
      exits,
      outputIsData: true,
      run: async ({ options: { output = '-', rule, config, 'api-port': apiPort } }) => {
        if (output === '-' && stdout.isTerminal)
          throw new CommandLineError(
            'cannot export to a terminal: name a file with -o, or send it to a program',
          )
        const { exportCache } = await import('./archive-command.js')
        return exportCache({ output, rules: rule, config, apiPort }, await archive())
      },
    }),
    command({
      name: 'import',
      summary: 'takes a tar that export has made into the cache',
      about: [
        'Takes a tar that export has made into the cache. Every body is checked; what is there already stays.',
        about,
      ],
      options,
      args: { file: { value: FILE, help: 'name one file, or "-" for standard input' } },
      examples: [
        { line: 'import warm.tar', does: 'take in an archive' },
        { line: 'import -', does: 'from standard input' },
      ],
      exits,
      run: async ({ args: { file }, options: { config, 'api-port': apiPort } }) => {
        const { importCache } = await import('./archive-command.js')
        return importCache({ file, config, apiPort }, await archive())
      },
    }),
  ]
}

/** Asks the proxy that runs for the names of its rules. */
async function ruleNames(): Promise<readonly string[]> {
  const { askApi, readJson } = await import('./api-client.js')
  const stats = (await readJson(
    await askApi(PROXY_API_PORT, { method: 'GET', path: '/api/cache/stats' }),
  )) as { readonly rules: object }
  return Object.keys(stats.rules)
}
