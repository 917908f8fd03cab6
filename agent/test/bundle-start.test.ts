import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { execPath } from 'node:process'
import { fileURLToPath } from 'node:url'
import t from 'tap'

/** As the bundler writes it. */
const CODE = `(function (exports, require, module) {
  function answer() { return 'one' }
  process.stdout.write(answer() + ' ' + (process.execArgv.length === 0) + ' ' + process.argv.slice(2).join())
})`

/**
 * The promise: a code cache that was made by another V8, with other flags, of other code, or not to its end, makes a
 * start no faster and never wrong. What V8 made is trusted as the code is that lies beside it.
 */
t.test('a program starts with its code cache, without one, and with one that is of no use', (t) => {
  const folder = t.testdir({ 'program.1.code.js': CODE, 'program.2.code.js': CODE.replace('one', 'two') })
  const program = join(folder, 'program.cjs')
  const cache = join(folder, 'program.1.cache')
  const scripts = join(projectRoot(), 'scripts/program')
  const start = readFileSync(join(scripts, 'start.cjs'), 'utf8')
  writeFileSync(program, start.replace("'PROGRAM'", "'program.1'"))
  const run = (...flags: string[]): string => {
    const { stdout, stderr, status } = spawnSync(execPath, [...flags, program, 'a', 'b'], {
      encoding: 'utf8',
    })
    return `${stdout}${stderr} ${status}`
  }
  t.equal(run(), 'one true a,b 0', 'without')
  run('--require', join(scripts, 'record.cjs'))
  t.ok(existsSync(cache), 'recorded at exit')
  const good = readFileSync(cache)
  t.equal(run(), 'one true a,b 0', 'with it')
  t.match(run('--max-lazy'), /^one false a,b 0/, 'with other flags of V8')
  // V8's magic number, its version, the length of the code, its flags.
  for (const at of [0, 4, 8, 12]) {
    const bad = Buffer.from(good)
    bad[at] = (bad[at] ?? 0) ^ 0xff
    writeFileSync(cache, bad)
    t.equal(run(), 'one true a,b 0', `with byte ${at} changed`)
  }
  writeFileSync(cache, good.subarray(0, good.length >> 1))
  t.equal(run(), 'one true a,b 0', 'cut off')
  writeFileSync(cache, '')
  t.equal(run(), 'one true a,b 0', 'empty')
  writeFileSync(cache, good)
  writeFileSync(join(folder, 'program.1.code.js'), CODE.replace('one', 'three'))
  t.equal(run(), 'three true a,b 0', 'of code of another length')
  writeFileSync(program, start.replace("'PROGRAM'", "'program.2'"))
  t.equal(run(), 'two true a,b 0', 'of other code of the same length, which has another name')
  t.end()
})

t.test("a module of Node's that a start needs late comes when it is asked for something", (t) => {
  const code = `(function (exports, require) {
  const zlib = require('node:zlib')
  const is = () => process.moduleLoadList.includes('NativeModule zlib')
  const before = is()
  const tables = [typeof zlib.crc33, typeof zlib.gzipSync, zlib.constants.Z_BEST_SPEED, 'gunzip' in zlib]
  const same = require('node:zlib') === zlib && zlib.gzipSync === module.constructor._load('node:zlib').gzipSync
  process.stdout.write(JSON.stringify([before, is(), tables, same]))
})`
  const folder = t.testdir({
    'late.1.code.js': code.replaceAll('module.constructor', "require('node:module')"),
  })
  const start = readFileSync(join(projectRoot(), 'scripts/program/start.cjs'), 'utf8')
  const text = start.replace("'PROGRAM'", "'late.1'").replace("['LATE']", '["zlib"]')
  writeFileSync(join(folder, 'late.cjs'), text)
  const { stdout, stderr } = spawnSync(execPath, [join(folder, 'late.cjs')], { encoding: 'utf8' })
  t.equal(stderr, '')
  t.strictSame(JSON.parse(stdout), [false, true, ['undefined', 'function', 1, true], true])
  t.end()
})

/** The folder of the Dockerfile: this file runs from where it was built to. */
function projectRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(folder, 'Dockerfile')) && folder !== '/') folder = dirname(folder)
  return folder
}
