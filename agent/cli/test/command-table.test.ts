import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { allOptions, findCommand, readArguments } from '../../../base/cli/command-line.js'
import type { Command, Program } from '../../../base/cli/command.js'
import { runProgram } from '../../../base/cli/run-program.js'
import { kept } from '../../../test/lab/command-program.js'
import { textWidth } from '../../../base/cli/text-width.js'
import { proxyProgram, type ProxyEntry } from '../../../proxy/cli/program.js'
import { apiProgram, type ApiEntry } from '../../api/program.js'
import { agentProgram, type AgentEntry } from '../program.js'

// The tables of our programs: each row can be asked what it does, its examples are right, and the pages name nothing else.

/** The sources lie beside dist/, from which this test runs. */
const PROJECT = process.cwd()

const outputs = { stdout: kept(), stderr: kept() }
const unused = (): never => {
  throw new Error('only the table is looked at here')
}
const agent = agentProgram({
  ...outputs,
  version: '1',
  run: unused,
  isolate: unused,
  userCommand: () => Promise.resolve(undefined),
  asking: unused,
  inspected: unused,
  uid: 0,
} satisfies AgentEntry)
const proxy = proxyProgram({
  ...outputs,
  version: '1',
  serve: unused,
  dataDir: unused,
  access: unused,
  archive: unused,
  onInterrupt: unused,
} satisfies ProxyEntry)
const api = apiProgram({ ...outputs, version: '1', serve: unused } satisfies ApiEntry)
const PROGRAMS: readonly Program[] = [agent, proxy, api]

/** Throws for a line that is a mistake. */
function read(program: Program, line: string): Command {
  const { command, args } = findCommand(
    program,
    line.split(' ').filter((word) => word !== ''),
  )
  const given = readArguments(command, args)
  return given === 'version' ? read(program, 'version') : command
}

void t.test('every example in help is a command line of its own row', (t) => {
  for (const program of PROGRAMS) {
    for (const one of program.commands) {
      t.ok(one.examples.length > 0, `${program.name} ${one.name} has an example`)
      for (const { line, does } of one.examples) {
        t.equal(read(program, line).name, one.name, `${program.name} ${line}`)
        t.ok(does.length > 0)
      }
    }
  }
  t.end()
})

void t.test('every command has help, which names all that it takes and fits the terminal', async (t) => {
  for (const program of PROGRAMS) {
    for (const { name, args, options } of program.commands) {
      for (const columns of [60, 80, 160]) {
        const screen = { stdout: kept(columns), stderr: kept(columns) }
        t.equal(await runProgram(program, [...name.split(' '), '--help'], screen), 0)
        const text = screen.stdout.written() + screen.stderr.written()
        t.match(text.split('\n')[0], `Usage: ${program.name} ${name}`)
        for (const { value } of Object.values(args)) t.ok(text.includes(value.name), value.name)
        for (const long of Object.keys(options)) t.ok(text.includes(`--${long}`), long)
        // But for examples, which are kept whole to be copied.
        const wide = text
          .split('\n')
          .filter((line) => textWidth(line) > columns && !line.startsWith(`  ${program.name} `))
        t.strictSame(wide, [], `${program.name} ${name} at ${columns} columns`)
      }
    }
  }
})

void t.test(
  'an option takes a value everywhere or nowhere, so that it may stand in front of its command',
  (t) => {
    for (const program of PROGRAMS) {
      const all = allOptions(program)
      for (const { name, options } of program.commands)
        for (const [long, { value, short }] of Object.entries(options)) {
          t.equal(value === undefined, all[long]?.value === undefined, `${name} --${long}`)
          t.equal(short, all[long]?.short, `${name} --${long}`)
        }
      const letters = Object.values(all).flatMap(({ short }) => (short === undefined ? [] : [short]))
      t.equal(new Set(letters).size, letters.length, 'and no letter means two of them')
    }
    t.end()
  },
)

/** Lines of code blocks and spans that begin with a program of ours, without what a shell adds. */
function commandLines(text: string): readonly (readonly [program: string, line: string])[] {
  const code = [...text.matchAll(/^```[^\n]*\n([^]*?)^```|`([^`]+)`/gm)].flatMap(
    ([, block, span]) => block?.split('\n') ?? [span?.replace(/\s+/g, ' ') ?? ''],
  )
  return code.flatMap((line) =>
    [...line.matchAll(/(?:^|[\s/])(discobot-(?:agent|proxy))((?: [^\s#&|;<>()…]+)*)/g)].map(
      ([, program = '', rest = '']) => [program, rest.trim().replace(/['"]/g, '')] as const,
    ),
  )
}

void t.test('the pages name only commands that exist, as they can be typed', (t) => {
  const pages = ['README.md', ...readdirSync(join(PROJECT, 'docs')).map((name) => join('docs', name))]
  let seen = 0
  for (const page of pages.filter((name) => name.endsWith('.md'))) {
    for (const [name, line] of commandLines(readFileSync(join(PROJECT, page), 'utf8'))) {
      const program = name === 'discobot-agent' ? agent : proxy
      // Only the name of a command, in running text, lacks what that command needs.
      const words = line.split(' ').filter((word) => !/^\[|\]$/.test(word))
      const isName = program.commands.some(({ name }) => name === words.join(' '))
      seen += 1
      if (!isName) t.doesNotThrow(() => read(program, words.join(' ')), `${page}: ${name} ${line}`)
    }
  }
  t.ok(seen > 15, `${seen} were looked at`)
  t.throws(() => read(agent, 'dance'), 'and one that does not exist would be found')
  t.end()
})

void t.test('every command and option is on the page about them', (t) => {
  const page = readFileSync(join(PROJECT, 'docs', 'command-line.md'), 'utf8')
  for (const program of [agent, proxy]) {
    const part = page.split(`## ${program.name}\n`)[1]?.split('\n## ')[0] ?? ''
    for (const { name, options } of program.commands) {
      const row = part.split('\n').find((line) => line.startsWith(`| \`${name}`)) ?? ''
      t.not(row, '', `${program.name} ${name}`)
      for (const long of Object.keys(options)) t.ok(row.includes(`--${long}`), `${name} --${long}: ${row}`)
    }
    const rows = [...part.matchAll(/^\| `([a-z ]+?)(?: [^a-z`][^`]*)?`/gm)].map(([, name]) => name)
    t.strictSame([...rows].sort(), program.commands.map(({ name }) => name).sort(), 'and nothing else')
  }
  t.end()
})
