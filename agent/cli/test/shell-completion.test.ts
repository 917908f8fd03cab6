import { execFile, spawn } from 'node:child_process'
import { accessSync, chmodSync, constants, mkdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { delimiter, join } from 'node:path'
import { execPath } from 'node:process'
import t from 'tap'
import { BUILT } from '../../../test/lab/isolated.js'
import { shortFolder } from '../../../test/lab/service-lab.js'

// Each shell reads our script, and completes as its user types: what stands there after TAB is what is run.

type Scope = Parameters<typeof shortFolder>[0]

interface Place {
  readonly folder: string
  readonly env: Record<string, string>
}

/** Folder with both programs under their names. They tell what they are called with, but for `completion`. */
function place(t: Scope): Place {
  const folder = shortFolder(t)
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  for (const program of ['agent', 'proxy']) {
    const path = join(bin, `discobot-${program}`)
    const main = join(BUILT, program, 'main.js')
    writeFileSync(
      path,
      `#!/bin/sh\n[ "$1" = completion ] && exec '${execPath}' '${main}' "$@"\nprintf 'ran:'; printf ' <%s>' "$@"; echo\n`,
    )
    chmodSync(path, 0o755)
  }
  const env = {
    PATH: `${bin}${delimiter}${process.env['PATH'] ?? ''}`,
    HOME: folder,
    LANG: 'C.UTF-8',
    TERM: 'xterm',
    DISCOBOT_DATA_DIR: folder,
    DISCOBOT_AGENT_SOCKET: join(folder, 'agent.sock'),
  }
  return { folder, env }
}

/** Stands in for an agent that runs two services. */
async function agentWithServices(t: Scope, { env }: Place): Promise<void> {
  const server = createServer((_request, response) =>
    response.end(
      JSON.stringify({
        phase: 'running',
        boot: [],
        services: [{ name: 'proxy' }, { name: 'postgres' }, { name: 'web' }],
      }),
    ),
  )
  await new Promise<void>((resolve) => server.listen(env['DISCOBOT_AGENT_SOCKET'], resolve))
  t.teardown(() => new Promise((resolve) => server.close(resolve)))
}

function lacking(shell: string): string | false {
  const there = (process.env['PATH'] ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, shell), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
  return there ? false : `needs ${shell}; CI installs it`
}

/** Gives the shell its lines as typed, and resolves with what they have printed. */
function typed(
  command: readonly [string, ...string[]],
  { folder, env }: Place,
  input: string,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const [program, ...args] = command
    const child = spawn(program, args, { cwd: folder, env, stdio: ['pipe', 'pipe', 'pipe'] })
    let said = ''
    child.stdout.setEncoding('utf8').on('data', (more: string) => (said += more))
    // The lines as they are edited, which nobody needs.
    child.stderr.resume()
    child.on('error', reject).on('close', () => resolve(said))
    child.stdin.on('error', () => undefined).end(input)
  })
}

function output(program: string, args: readonly string[], { folder, env }: Place): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(program, args, { cwd: folder, env }, (error, stdout, stderr) =>
      error === null ? resolve(stdout) : reject(new Error(`${error.message}\n${stdout}${stderr}`)),
    )
  })
}

/** What is typed, and what has been run then. */
const LINES: readonly (readonly [typed: string, ran: string])[] = [
  ['discobot-agent stat\t', '<status>'],
  ['discobot-agent con\tch\t', '<config> <check>'],
  ['discobot-agent logs --fo\t', '<logs> <--follow>'],
  ['discobot-agent restart pos\t', '<restart> <postgres>'],
  ['discobot-agent logs -n 5 w\t', '<logs> <-n> <5> <web>'],
  ['discobot-agent config check ser\t', '<config> <check> <services file.yaml>'],
  [
    'discobot-proxy prewarm https://example.com/a --plat\tlinux/arm6\t',
    '<prewarm> <https://example.com/a> <--platform> <linux/arm64>',
  ],
  ['discobot-proxy --config=ser\t', '<--config=services file.yaml>'],
  ['discobot-proxy prewarm --platform=linux/s\talpine', '<prewarm> <--platform=linux/s390x> <alpine>'],
]

void t.test('bash', { skip: lacking('bash') }, async (t) => {
  const here = place(t)
  await agentWithServices(t, here)
  writeFileSync(join(here.folder, 'services file.yaml'), '')
  writeFileSync(join(here.folder, '.inputrc'), 'set bell-style none\n')
  writeFileSync(
    join(here.folder, 'rc'),
    'source <(discobot-agent completion bash)\nsource <(discobot-proxy completion bash)\nPS1=\n',
  )
  // Bash edits lines wherever it is told that it talks to a person.
  const said = await typed(
    ['bash', '--noprofile', '--rcfile', 'rc', '-i'],
    here,
    `${LINES.map(([line]) => line).join('\n')}\nexit\n`,
  )
  t.strictSame(
    said.match(/(?<=^ran: ).*/gm),
    LINES.map(([, ran]) => ran),
  )
})

void t.test('zsh', { skip: lacking('zsh') }, async (t) => {
  const here = place(t)
  await agentWithServices(t, here)
  writeFileSync(join(here.folder, 'services file.yaml'), '')
  writeFileSync(
    join(here.folder, '.zshrc'),
    'autoload -U compinit; compinit -u -D\nsource <(discobot-agent completion zsh)\nsource <(discobot-proxy completion zsh)\nPS1=READY; unsetopt zle_bracketed_paste 2>/dev/null; unset zle_bracketed_paste\n',
  )
  // zsh edits lines on a terminal only, so another zsh gives it one, and types when it is asked to.
  writeFileSync(
    join(here.folder, 'typist.zsh'),
    `zmodload zsh/zpty
zpty shell zsh -i
read_until() { local said; while zpty -r shell said; do print -rn -- "$said"; [[ $said == *$1* ]] && return; done }
zpty -r shell said '*READY*'
for line in "\${(@f)$(<lines)}"; do
  zpty -w -n shell "$(printf '%b' "$line")"$'\\n'
  zpty -r shell said '*ran:*READY*'
  print -r -- "$said"
done
zpty -d shell
`,
  )
  writeFileSync(join(here.folder, 'lines'), LINES.map(([line]) => line.replaceAll('\t', '\\t')).join('\n'))
  const said = await output('zsh', ['-f', 'typist.zsh'], here)
  t.strictSame(
    [...said.matchAll(/ran: ([^\r\n]*)/g)].map(([, ran]) => ran),
    LINES.map(([, ran]) => ran),
  )
})

void t.test('fish', { skip: lacking('fish') }, async (t) => {
  const here = place(t)
  await agentWithServices(t, here)
  writeFileSync(join(here.folder, 'services file.yaml'), '')
  const offered = async (line: string): Promise<readonly string[]> => {
    const script =
      'discobot-agent completion fish | source; discobot-proxy completion fish | source; complete -C $argv[1]'
    const found = await output('fish', ['--no-config', '-c', script, line], here)
    return found.split('\n').filter((one) => one !== '')
  }
  t.strictSame(await offered('discobot-agent stat'), [
    'status\twhat runs, what is missing, and how the boot went',
  ])
  t.strictSame(await offered('discobot-agent config '), [
    'check\twhat is wrong with a file, or with all that the agent reads',
  ])
  t.strictSame(await offered('discobot-agent logs --fo'), ['--follow\tand go on'])
  t.match(await offered('discobot-agent restart p'), [/^postgres\t/, /^proxy\t/])
  t.ok((await offered('discobot-agent ')).includes('run\tboot and supervise; the same without a command'))
  t.match(await offered('discobot-proxy prewarm --platform=linux/s'), [/^--platform=linux\/s390x\t/])
  t.match(await offered('discobot-agent config check ser'), [/services file\.yaml/])
  t.match(await offered('discobot-proxy --config=ser'), [/^--config=services file\.yaml/])
  t.strictSame(await offered('discobot-agent dance '), [])
})
