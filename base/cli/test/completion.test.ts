import t from 'tap'
import { candidates, type Candidates } from '../completion.js'
import type { Shell } from '../shell.js'
import { kept, kitchen } from '../../../test/lab/command-program.js'

// Completion offers what the table would take at that place, and nothing else.

const program = kitchen({ stdout: kept(), stderr: kept() })

async function offered(words: readonly string[], shell: Shell = 'fish'): Promise<Candidates | string[]> {
  const found = await candidates(program, shell, words)
  return found === 'files' ? found : found.map(({ word }) => word)
}

void t.test('what may follow', async (t) => {
  const cases: readonly (readonly [words: readonly string[], offers: 'files' | readonly string[]])[] = [
    [[''], ['open', 'cook', 'stock', 'help', 'version', 'completion']],
    [['co'], ['cook', 'completion']],
    [
      ['stock', ''],
      ['list', 'count'],
    ],
    [['stock', 'l'], ['list']],
    [
      ['stock', 'list', '--'],
      ['--json', '--help', '--version'],
    ],
    [
      ['stock', 'list', '--json', '--'],
      ['--help', '--version'],
    ],
    [
      ['cook', ''],
      ['boil', 'bake'],
    ],
    [
      ['cook', 'boil', ''],
      ['soup', 'stew', 'bread'],
    ],
    [
      ['cook', 'boil', 'soup', 's'],
      ['soup', 'stew'],
    ],
    [
      ['cook', '--heat', ''],
      ['low', 'medium', 'high'],
    ],
    [['cook', '--heat=m'], ['--heat=medium']],
    [['cook', '--spice', 'x', '--sp'], ['--spice']],
    [
      ['cook', '-n', '5', 'b'],
      ['boil', 'bake'],
    ],
    [['cook', '-n', ''], []],
    [['cook', 'boil', '--', '--'], []],
    [['--menu', ''], 'files'],
    [['--menu='], 'files'],
    [['--me'], ['--menu']],
    [
      ['stock', 'count', ''],
      ['--help', '--version'],
    ],
    [['nonsense', ''], []],
    [
      ['help', 'stock'],
      ['stock list', 'stock count'],
    ],
  ]
  for (const [words, expected] of cases) t.strictSame(await offered(words), expected, words.join(' '))
})

void t.test('bash hands over what is between "=" and ":" as words, and takes them back so', async (t) => {
  t.strictSame(await offered(['cook', '--heat', '=', 'm'], 'bash'), ['medium'])
  t.strictSame(await offered(['cook', '--heat', '='], 'bash'), ['low', 'medium', 'high'])
  t.strictSame(await offered(['cook', 'boil', 'a', ':', '3', '--he'], 'bash'), ['--heat', '--help'])
  t.strictSame(await offered(['cook', '--spice', 'a', ':', '3', 'bo'], 'bash'), ['boil'])
})

void t.test('whoever cannot be asked offers nothing', async (t) => {
  const broken = {
    ...program,
    commands: program.commands.map((one) => ({
      ...one,
      args: {
        x: {
          help: '',
          value: { name: 'X', wants: '', read: () => 1, offers: () => Promise.reject(new Error()) },
        },
      },
    })),
  }
  t.strictSame(await candidates(broken, 'zsh', ['cook', '']), [])
})
