import t from 'tap'
import { bar, showProgress } from '../progress.js'
import { runProgram } from '../run-program.js'
import { table, type Column } from '../table.js'
import { paint, terminalOf } from '../terminal.js'
import { behind, cutMiddle, textWidth, wrap } from '../text-width.js'
import { kept, kitchen } from '../../../test/lab/command-program.js'

// What is shown fits the terminal, and what is no terminal gets it whole and plain.

const ESCAPE = '\u001b['

void t.test('colours are for terminals, unless NO_COLOR says otherwise', (t) => {
  const write = (): boolean => true
  const colour = (isTTY: boolean, env: Record<string, string>): boolean =>
    terminalOf(() => ({ isTTY, write }), env).colour
  t.equal(colour(true, {}), true)
  t.equal(colour(true, { NO_COLOR: '' }), true, 'nothing is no wish')
  t.equal(colour(true, { NO_COLOR: '1' }), false)
  t.equal(colour(true, { NO_COLOR: '0' }), false, 'whatever its value')
  t.equal(colour(true, { TERM: 'dumb' }), false)
  t.equal(colour(false, {}), false)
  t.equal(paint('x', 31, true), `${ESCAPE}31mx${ESCAPE}0m`)
  t.equal(paint('x', 31, false), 'x')
  t.end()
})

void t.test('the width is that of the terminal, now', (t) => {
  let columns: number | undefined = 120
  const terminal = terminalOf(() => ({ isTTY: true, columns, write: () => true }), {})
  t.equal(terminal.columns, 120)
  columns = 60
  t.equal(terminal.columns, 60, 'after it was made narrower')
  columns = 0
  t.equal(terminal.columns, 80, 'a terminal that does not know')
  columns = undefined
  t.equal(terminal.columns, 80)
  t.equal(terminalOf(() => ({ columns: 60, write: () => true }), {}).columns, Infinity)
  t.end()
})

void t.test('text takes the columns that a terminal gives it', (t) => {
  t.equal(textWidth('plain'), 5)
  t.equal(textWidth('…→✓'), 3)
  t.equal(textWidth('日本'), 4)
  t.equal(textWidth('e\u0301'), 1, 'a mark takes no room')
  t.equal(textWidth('🚀'), 2)
  t.equal(cutMiddle('sha256:0123456789abcdef', 11), 'sha25…bcdef')
  t.equal(textWidth(cutMiddle('日本日本日本', 7)), 7)
  t.equal(cutMiddle('short', 5), 'short')
  t.strictSame(wrap('one two three', 7), ['one two', 'three'])
  t.strictSame(wrap('abcdefgh ij', 4), ['abcd', 'efgh', 'ij'], 'a long word is cut')
  t.strictSame(wrap('abcdefgh ij', 4, 'keep'), ['abcdefgh', 'ij'], 'or kept, to be copied')
  t.strictSame(wrap('日本日本', 5), ['日本', '日本'])
  t.strictSame(behind('label  ', 'some words that are long and go on', 28), [
    'label  some words that are',
    '       long and go on',
  ])
  t.end()
})

const COLUMNS: readonly Column[] = [
  { title: 'NAME', narrow: 'cut' },
  { title: 'SIZE', right: true },
  { title: 'WHY', narrow: 'wrap' },
]
const ROWS = [
  ['web', '9.1 MB', ''],
  [
    'a-service-with-a-long-name',
    { text: '120.0 MB', sgr: 31 },
    'it ended with exit code 1 and is started again in 4000 ms',
  ],
]

void t.test('a table fits every terminal, and is not cut where nobody has one', (t) => {
  const plain = table(COLUMNS, ROWS, { columns: Infinity, colour: false })
  t.strictSame(plain, [
    'NAME                            SIZE  WHY',
    'web                           9.1 MB',
    'a-service-with-a-long-name  120.0 MB  it ended with exit code 1 and is started again in 4000 ms',
  ])
  for (const columns of [160, 100, 80, 60, 50, 40, 30]) {
    const lines = table(COLUMNS, ROWS, { columns, colour: false })
    for (const line of lines) t.ok(textWidth(line) <= columns, `${columns}: ${line}`)
    const words = lines.join(' ').replace(/\s+/g, ' ')
    t.match(words, /it ended with exit code 1/, `${columns}: no reason is lost`)
    t.match(words, /120\.0 MB/, `${columns}: no figure is cut`)
  }
  t.strictSame(
    table(COLUMNS, ROWS, { columns: 30, colour: false }),
    [
      'NAME                      SIZE',
      'web                     9.1 MB',
      'a-service-…long-name  120.0 MB',
      '    it ended with exit code 1',
      '    and is started again in',
      '    4000 ms',
    ],
    'the name loses its middle, and the reason goes below',
  )
  const painted = table(COLUMNS, ROWS, { columns: 80, colour: true }).join('\n')
  t.equal(painted.split(ESCAPE).length, 3, 'one cell has a colour')
  t.equal(
    painted.replace(/\u001b\[\d+m/g, ''),
    table(COLUMNS, ROWS, { columns: 80, colour: false }).join('\n'),
  )
  t.end()
})

void t.test(
  'help fits the terminal, says everything at every width, and has colours there only',
  async (t) => {
    for (const columns of [Infinity, 160, 80, 60]) {
      for (const line of ['help', 'help cook', 'help completion', 'cook --nonsense']) {
        const outputs = { stdout: kept(columns, columns !== Infinity), stderr: kept(columns) }
        await runProgram(kitchen(outputs), line.split(' '), outputs)
        const text = outputs.stdout.written() + outputs.stderr.written()
        const limit = columns === Infinity ? 80 : Math.min(columns, 100)
        const shown = text.replace(/\u001b\[\d+m/g, '')
        for (const one of shown.split('\n')) t.ok(textWidth(one) <= limit, `${columns} ${line}: ${one}`)
        if (line.startsWith('help'))
          t.equal(text.includes(ESCAPE), columns !== Infinity, `${columns} ${line}`)
        if (line === 'help cook')
          for (const part of [
            'METHOD',
            '--spice SPICE',
            '-n, --minutes MINUTES',
            'may be given several times',
            '1  it is not',
          ])
            t.match(shown.replace(/\s+/g, ' '), part.replace(/\s+/g, ' '), `${columns}: ${part}`)
      }
    }
  },
)

void t.test('progress is one line that changes, on a terminal only', (t) => {
  const terminal = kept(40)
  const screen = { isTTY: true, columns: 40, write: terminal.write }
  showProgress(screen, ['done: a'], `${bar(0.5, 10)} half of a line that is longer than the terminal is wide`)
  const [wiped = '', lines = ''] = terminal.written().split('\u001b[2K')
  t.equal(wiped, '\r')
  t.match(lines, /^done: a\n\[##### {5}\] half/)
  t.equal(textWidth(lines.split('\n')[1] ?? ''), 39, 'a line that wraps could not be wiped')
  const file = kept()
  showProgress({ isTTY: false, columns: Infinity, write: file.write }, ['done: a'], bar(1, 4))
  showProgress({ isTTY: false, columns: Infinity, write: file.write }, [], bar(1, 4))
  t.equal(file.written(), 'done: a\n')
  t.equal(bar(2, 3), '[###]')
  t.end()
})
