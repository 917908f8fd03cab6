import t from 'tap'
import { runProgram } from '../run-program.js'
import { kept, kitchen } from '../../../test/lab/command-program.js'

// The table gives each command what its row describes, and a mistake is told with what would be right.

async function call(
  ...args: string[]
): Promise<{ code: number | undefined; out: string; err: string; calls: unknown[] }> {
  const outputs = { stdout: kept(), stderr: kept() }
  const calls: unknown[] = []
  const code = await runProgram(kitchen(outputs, calls), args, outputs)
  return { code, out: outputs.stdout.written(), err: outputs.stderr.written(), calls }
}

void t.test('options and arguments, in every way they can be written', async (t) => {
  const cases: readonly (readonly [line: string, call: readonly unknown[]])[] = [
    ['', ['open', undefined]],
    ['open', ['open', undefined]],
    ['--menu a.txt', ['open', 'a.txt']],
    ['-menu a.txt', ['open', 'a.txt']],
    ['-menu=a.txt', ['open', 'a.txt']],
    ['-m a.txt open', ['open', 'a.txt']],
    ['-m -', ['open', '-']],
    ['--menu=a=b', ['open', 'a=b']],
    ['cook boil soup', ['cook', 'boil', ['soup'], undefined, [], undefined, false]],
    ['cook bake a b -n 5 -q', ['cook', 'bake', ['a', 'b'], 5, [], undefined, true]],
    ['cook bake a -qwn5', ['cook', 'bake', ['a'], 5, [], undefined, true]],
    ['--quick -n 5 cook bake a', ['cook', 'bake', ['a'], 5, [], undefined, true]],
    ['cook --spice=x bake --spice y a', ['cook', 'bake', ['a'], undefined, ['x', 'y'], undefined, false]],
    ['cook bake --heat low --heat high a', ['cook', 'bake', ['a'], undefined, [], 'high', false]],
    ['cook bake -- -n --quick', ['cook', 'bake', ['-n', '--quick'], undefined, [], undefined, false]],
    ['stock list', ['stock list', undefined, false]],
    ['stock --json list top', ['stock list', 'top', true]],
  ]
  for (const [line, expected] of cases) {
    const { calls, err } = await call(...line.split(' ').filter((word) => word !== ''))
    t.strictSame(calls, [expected], `${line}: ${err}`)
  }
  t.equal((await call('open')).code, undefined, 'the process goes on')
  t.equal((await call('cook', 'bake', 'a', '-n', '0')).code, 1, "a command's own exit code")
})

void t.test('a mistake is told first, then what would be right; nothing is done', async (t) => {
  const cases: readonly (readonly [line: string, message: string])[] = [
    ['cok', 'unknown command "cok"; did you mean "cook"?'],
    ['toString', 'unknown command "toString"'],
    ['stock', 'unknown command "stock": stock can only "list" or "count"'],
    ['stock lst', 'unknown command "stock lst": stock can only "list" or "count"'],
    ['help cok', 'unknown command "cok"; did you mean "cook"?'],
    ['cook', 'cook needs METHOD: how it is done'],
    ['cook boil', 'cook needs DISH: name one or more'],
    ['cook bil soup', 'METHOD is boil or bake, not "bil"; did you mean "boil"?'],
    ['cook boil soup --haet low', 'unknown option "--haet"; did you mean "--heat"?'],
    ['cook boil soup -x', 'unknown option "-x"'],
    ['cook boil soup -quick', 'unknown option "-quick"; did you mean "--quick"?'],
    ['cook boil soup --quick=yes', '--quick takes no value'],
    ['cook boil soup -n', '-n needs a value'],
    ['cook boil soup --spice --quick', '--spice needs a value'],
    ['cook boil soup --spice=', '--spice needs a value'],
    ['cook boil soup -n many', '-n takes a number, not "many"'],
    ['cook boil soup --port 0', '--port takes a port, 1 to 65535, not "0"'],
    ['cook boil soup --port 65536', '--port takes a port, 1 to 65535, not "65536"'],
    ['cook boil soup --heat lwo', '--heat takes low, medium or high, not "lwo"; did you mean "low"?'],
    ['stock list a b', 'unexpected argument "b"'],
    ['open --quick', 'unknown option "--quick"'],
    ['--__proto__', 'unknown option "--__proto__"'],
  ]
  for (const [line, message] of cases) {
    const { code, out, err, calls } = await call(...line.split(' '))
    t.equal(code, 2, line)
    t.equal(out, '', line)
    t.strictSame(calls, [], line)
    const [told, empty, usage] = err.split('\n')
    t.equal(told, `kitchen: ${message}`, line)
    t.equal(empty, '')
    t.match(usage, /^Usage: kitchen /)
    t.match(err, /\n"kitchen help.*" (says more|lists the commands)/, 'the next step')
  }
})

void t.test('help and version win over whatever else is there', async (t) => {
  for (const line of ['help', '-h', '--help', 'open --nonsense --help'])
    t.match(await call(...line.split(' ')), { code: 0, err: '', out: /^Usage: kitchen / }, line)
  for (const line of ['help cook', 'cook --help', 'cook -h', '--help cook', 'cook --port 0 -qh'])
    t.match(
      await call(...line.split(' ')),
      { code: 0, err: '', out: /^Usage: kitchen cook METHOD DISH…/ },
      line,
    )
  t.match((await call('help', 'stock', 'list')).out, /^Usage: kitchen stock list \[SHELF\] \[--json\]/)
  for (const line of ['version', '-v', '--version', 'cook --version'])
    t.match(await call(...line.split(' ')), { code: 0, out: '1.2.3\n' }, line)
})

void t.test('a command line for another program is passed on as it is', async (t) => {
  const outputs = { stdout: kept(), stderr: kept() }
  const calls: unknown[] = []
  const taken: unknown[] = []
  const program = {
    ...kitchen(outputs, calls),
    otherwise: {
      usage: '-- COMMAND [ARGUMENT…]',
      summary: 'runs it',
      take: async (args: readonly string[]) =>
        args[0] === 'bash' ? async () => taken.push(args) && 7 : undefined,
    },
  }
  const line = ['bash', '-c', 'exit 7', '--help', '--nonsense']
  t.equal(await runProgram(program, line, outputs), 7)
  t.strictSame(taken, [line])
  t.equal(await runProgram(program, ['stock', 'list'], outputs), 0)
  t.strictSame(calls, [['stock list', undefined, false]])
  await runProgram(program, ['--help'], outputs)
  t.match(outputs.stdout.written(), /-- COMMAND \[ARGUMENT…\]\s+runs it/)
})

void t.test(
  'what a command itself finds wrong with its line is told alike; all else is passed on',
  async (t) => {
    const outputs = { stdout: kept(), stderr: kept() }
    const program = kitchen(outputs)
    const failing = (error: Error) => ({
      ...program,
      commands: program.commands.map((one) =>
        one.name === 'stock list' ? { ...one, run: () => Promise.reject(error) } : one,
      ),
    })
    const other = new Error('the shelf is broken')
    await t.rejects(runProgram(failing(other), ['stock', 'list'], outputs), other)
    // As the bundle has it: of a class of another file, which has the same code.
    const alike = Object.assign(new Error('cannot list that'), { code: 'COMMAND_LINE_UNUSABLE' })
    t.equal(await runProgram(failing(alike), ['stock', 'list'], outputs), 2)
    t.match(outputs.stderr.written(), /^kitchen: cannot list that\n\nUsage: kitchen stock list/)
  },
)
