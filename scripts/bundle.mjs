/**
 * `npm run bundle`: one file of code per program in dist/bundle/, and beside it what V8 makes of that code, for the
 * image. A program starts sooner when nothing is looked up in node_modules and nothing is compiled, and the image
 * needs none of it but koffi. For the version of Node that makes the bundle: any other one starts it slower.
 */
import { createHash } from 'node:crypto'
import { cpSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import { writeCodeCaches } from './code-cache.mjs'
import { ensureInstalled, fail, ROOT } from './project.mjs'

const PROGRAMS = { agent: 'agent/main.ts', proxy: 'proxy/main.ts', 'agent-api': 'agent/api/main.ts' }
/**
 * Modules of Node's, of 1 to 4 ms each, that a start needs late or never: see program/start.cjs. Not what it needs as
 * soon as it may go on.
 */
const LATE = {
  agent: ['crypto', 'dns', 'http', 'http2', 'https', 'readline', 'v8'],
  proxy: ['child_process', 'http2', 'readline', 'v8'],
  'agent-api': ['child_process', 'crypto', 'dns', 'http2', 'https', 'readline', 'v8'],
}
/** Packages that most starts have no use for: two thirds of the code, which each start would read. */
const APART = ['execa', 'node-forge', 'yaml']
/**
 * Modules of our own that are imported late: one file for all programs instead of a copy in each. What the first of them
 * import late is apart from them as well.
 */
const OURS_APART = [
  'base/cli/help.ts',
  'base/cli/completion.ts',
  'base/cli/shell-scripts.ts',
  'base/cli/run-program.ts',
  'base/http/openapi.ts',
  'proxy/api/shapes.ts',
]
/** Started by a program as a process of its own. */
const PROCESSES = ['proxy/names/resolver-process.ts']
const KOFFI = './koffi.node'

ensureInstalled()
const { build } = await import('esbuild')
const out = join(ROOT, 'dist/bundle')
const PACKAGES = join(out, 'packages')
const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))

rmSync(out, { recursive: true, force: true })
mkdirSync(out, { recursive: true })
const defaultDocument = await parseDefault()
const packages = await bundlePackages()
const { metafile } = await build({
  entryPoints: PROGRAMS,
  absWorkingDir: ROOT,
  outdir: out,
  outExtension: { '.js': '.code.js' },
  bundle: true,
  format: 'cjs',
  platform: 'node',
  target: 'node20',
  external: [KOFFI],
  // A script that was not loaded as a module has no `import` of its own.
  supported: { 'dynamic-import': false },
  define: { DISCOBOT_VERSION: JSON.stringify(version), 'import.meta.url': 'moduleUrl' },
  // One function, as Node makes of every CommonJS module: see program/start.cjs, which calls it.
  banner: {
    js: "(function (exports, require, module, __filename, __dirname, DISCOBOT_RELEASE) { const moduleUrl = require('node:url').pathToFileURL(__filename).href;",
  },
  footer: { js: '})' },
  charset: 'ascii',
  // Half as much to read; names stay, for the traces of errors.
  minifyWhitespace: true,
  minifySyntax: true,
  // What is around koffi's native part looks for it, and wraps what we do not call: 4 ms.
  alias: { koffi: KOFFI },
  plugins: [
    { name: 'apart', setup: apartFrom(packages, './packages/') },
    { name: 'inline-text', setup: inlineText },
    { name: 'no-emoji', setup: withoutEmoji },
  ],
  legalComments: 'linked',
  metafile: true,
  logLevel: 'warning',
  // esbuild has said what is wrong.
}).catch(() => process.exit(1))
const start = readFileSync(join(ROOT, 'scripts/program/start.cjs'), 'utf8')
assertNamedImports()
// V8 tells the code that a cache was made of by its length alone; and programs believe what their own release left.
const release = digestOf(Object.keys(PROGRAMS).map((name) => join(out, `${name}.code.js`)))
for (const name of Object.keys(PROGRAMS)) {
  renameSync(join(out, `${name}.code.js`), join(out, `${name}.${release}.code.js`))
  const text = start
    .replace("'PROGRAM'", `'${name}.${release}'`)
    .replace("['LATE']", JSON.stringify(LATE[name]))
  writeFileSync(join(out, `${name}.cjs`), text, { mode: 0o755 })
}
copyKoffi()
cpSync(join(ROOT, 'agent/preload'), join(out, 'preload'), { recursive: true })
await writeCodeCaches(out)
for (const [path, { bytes }] of Object.entries(metafile.outputs)) {
  if (path.endsWith('.js')) console.log(`${(bytes / 1024).toFixed(0).padStart(6)} KiB  ${path}`)
}

/**
 * Each of them in a file of its own, with whatever it needs. Named by its digest, so that another version of it makes
 * another release.
 */
async function bundlePackages() {
  const files = new Map()
  for (const path of [...APART, ...OURS_APART, ...PROCESSES]) {
    const name = basename(path, '.ts')
    await build({
      entryPoints: { [name]: path },
      absWorkingDir: ROOT,
      outdir: PACKAGES,
      outExtension: { '.js': '.cjs' },
      bundle: true,
      format: 'cjs',
      platform: 'node',
      target: 'node20',
      supported: { 'dynamic-import': false },
      minifyWhitespace: true,
      minifySyntax: true,
      plugins: [{ name: 'apart', setup: apartFrom(files, './') }],
      legalComments: 'linked',
      logLevel: 'warning',
    }).catch(() => process.exit(1))
    const file = `${name}.${digestOf([join(PACKAGES, `${name}.cjs`)])}.cjs`
    renameSync(join(PACKAGES, `${name}.cjs`), join(PACKAGES, file))
    files.set(path, file)
  }
  return files
}

/** Whatever has a file of its own in `files` is read from there, from `folder` on, and not made part of anything. */
function apartFrom(files, folder) {
  return ({ onResolve }) => {
    onResolve({ filter: /./ }, ({ path, kind, importer, resolveDir }) => {
      if (kind === 'entry-point') return undefined
      const source = path.startsWith('.')
        ? relative(ROOT, join(resolveDir, path)).replace(/\.js$/, '.ts')
        : path
      const file = files.get(source)
      if (file === undefined) return undefined
      if (OURS_APART.includes(source) && kind !== 'dynamic-import')
        fail(
          `cannot bundle ${relative(ROOT, importer)}: it imports ${source} at once, which is to be read late`,
        )
      return { path: folder + file, external: true }
    })
  }
}

/** Of a module that start.cjs brings in when it is asked for something, nobody may ask what there is. */
function assertNamedImports() {
  for (const name of Object.keys(PROGRAMS)) {
    const late = LATE[name].join('|')
    const code = readFileSync(join(out, `${name}.code.js`), 'utf8')
    const whole = new RegExp(`__toESM\\(require\\("node:(${late})"\\)`).exec(code)
    if (whole !== null)
      fail(`cannot bundle ${name}: it imports ${whole[1]} as a whole; import what it needs by name`)
  }
}

function digestOf(files) {
  const hash = createHash('sha256')
  for (const file of files) hash.update(readFileSync(file))
  return hash.digest('hex').slice(0, 16)
}

/** Text that a module reads from a file beside itself goes into the bundle, which has no such file beside it. */
function inlineText({ onLoad }) {
  const ours = new RegExp(`^${ROOT.replaceAll(/[.+]/g, '\\$&')}/(base|config|proxy|agent)/.*\\.ts$`)
  onLoad({ filter: ours }, ({ path }) => {
    let contents = requireOfBundle(readFileSync(path, 'utf8')).replaceAll(
      /readFileSync\(\s*new URL\('(\.[^']+)', import\.meta\.url\),\s*'utf8',?\s*\)/g,
      (_, file) => JSON.stringify(readFileSync(join(dirname(path), file), 'utf8')),
    )
    contents = withProcesses(path, contents)
    const left = /new URL\('[^']*', import\.meta\.url\)/.exec(contents)
    if (left !== null)
      fail(`cannot bundle ${relative(ROOT, path)}: ${left[0]} would point nowhere; read it as text`)
    // Parsed now, not at every start.
    const parsed = contents.replace('documentOf(parseDefault())', `documentOf(${defaultDocument})`)
    return { contents: parsed, loader: 'ts' }
  })
}

/** The path of a process of ours, which the module at `path` starts, is that of its file. */
function withProcesses(path, text) {
  return text.replaceAll(/new URL\('([\w-]+)\.js', import\.meta\.url\)/g, (whole, name) => {
    const file = packages.get(relative(ROOT, join(dirname(path), `${name}.ts`)))
    return file === undefined ? whole : `new URL('packages/${file}', moduleUrl)`
  })
}

/**
 * What is imported at run time is kept as a whole. Of valibot that would have each start compile an expression for
 * emoji, which takes 6 ms and which nobody asks for.
 */
function withoutEmoji({ onLoad }) {
  onLoad({ filter: /\/node_modules\/valibot\/dist\/index\.mjs$/ }, ({ path }) => {
    const text = readFileSync(path, 'utf8')
    const contents = text.replace(/^const EMOJI_REGEX = .*$/m, 'const EMOJI_REGEX = undefined;')
    if (contents === text) fail(`cannot bundle ${relative(ROOT, path)}: it has no EMOJI_REGEX any more`)
    return { contents, loader: 'js' }
  })
}

/** What `default.yaml` says, as JSON. */
async function parseDefault() {
  const { outputFiles } = await build({
    entryPoints: ['config/layers/default-document.ts'],
    absWorkingDir: ROOT,
    bundle: true,
    write: false,
    format: 'cjs',
    platform: 'node',
    define: { 'import.meta.url': 'moduleUrl' },
  })
  const module = { exports: {} }
  const source = pathToFileURL(join(ROOT, 'config/layers/default-document.ts')).href
  new Function('module', 'require', 'moduleUrl', outputFiles[0].text)(module, createRequire(source), source)
  return JSON.stringify(module.exports.parseDefault())
}

/**
 * A package that is wanted at once or not at all, so that `await import` will not do, is asked for with a `require` of
 * the module's own. The bundler knows only one that nobody has made, and runs such a package when it comes to that.
 */
function requireOfBundle(text) {
  return text.replace('const require = createRequire(import.meta.url)\n', '\n')
}

/** The native part for this machine: what builds is what runs. */
function copyKoffi() {
  const native = join(ROOT, `node_modules/@koromix/koffi-${process.platform}-${process.arch}`)
  const libc = process.report.getReport().header.glibcVersionRuntime === undefined ? 'musl_' : 'linux_'
  const folder = readdirSync(native).find((name) => name.startsWith(libc))
  cpSync(join(native, folder, 'koffi.node'), join(out, KOFFI))
  cpSync(join(ROOT, 'node_modules/koffi/LICENSE.txt'), join(out, `${KOFFI}.LICENSE.txt`))
  const { version } = createRequire(import.meta.url)(join(out, KOFFI))
  if (version === undefined) fail('cannot bundle koffi: its native part cannot be loaded here')
}
