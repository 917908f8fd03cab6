/**
 * `npm run bundle`: one file per program in dist/bundle/, for the image. Process 1 starts sooner when nothing is
 * looked up in node_modules, and the image needs none of it but koffi.
 */
import { chmodSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { ensureInstalled, fail, ROOT } from './project.mjs'

const PROGRAMS = { agent: 'agent/main.ts', proxy: 'proxy/main.ts', 'agent-api': 'agent/api/main.ts' }

ensureInstalled()
const { build } = await import('esbuild')
const out = join(ROOT, 'dist/bundle')
const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))

rmSync(out, { recursive: true, force: true })
mkdirSync(out, { recursive: true })
const { metafile } = await build({
  entryPoints: PROGRAMS,
  absWorkingDir: ROOT,
  outdir: out,
  outExtension: { '.js': '.mjs' },
  bundle: true,
  // What a program imports late stays a file of its own, read only when it comes to that.
  splitting: true,
  chunkNames: 'chunks/[name]-[hash]',
  format: 'esm',
  platform: 'node',
  target: 'node20',
  // Finds its native part beside itself.
  external: ['koffi'],
  define: { DISCOBOT_VERSION: JSON.stringify(version) },
  // CommonJS packages (node-forge, pino, yaml) ask for Node's own modules with `require`, which ESM lacks.
  banner: {
    js: "import { createRequire as requireFrom } from 'node:module'; const require = requireFrom(import.meta.url);",
  },
  plugins: [{ name: 'inline-text', setup: inlineText }],
  legalComments: 'linked',
  metafile: true,
  logLevel: 'warning',
  // esbuild has said what is wrong.
}).catch(() => process.exit(1))
for (const name of Object.keys(PROGRAMS)) chmodSync(join(out, `${name}.mjs`), 0o755)
copyKoffi()
cpSync(join(ROOT, 'agent/preload'), join(out, 'preload'), { recursive: true })
writeFileSync(join(out, 'package.json'), '{ "type": "module" }\n')
for (const [path, { bytes }] of Object.entries(metafile.outputs)) {
  if (path.endsWith('.mjs')) console.log(`${(bytes / 1024).toFixed(0).padStart(6)} KiB  ${path}`)
}

/** Text that a module reads from a file beside itself goes into the bundle, which has no such file beside it. */
function inlineText({ onLoad }) {
  const ours = new RegExp(`^${ROOT.replaceAll(/[.+]/g, '\\$&')}/(config|proxy|agent)/.*\\.ts$`)
  onLoad({ filter: ours }, ({ path }) => {
    const contents = readFileSync(path, 'utf8').replaceAll(
      /readFileSync\(\s*new URL\('(\.[^']+)', import\.meta\.url\),\s*'utf8',?\s*\)/g,
      (_, file) => JSON.stringify(readFileSync(join(dirname(path), file), 'utf8')),
    )
    const left = /new URL\('\.[^']*', import\.meta\.url\)/.exec(contents)
    if (left !== null)
      fail(`cannot bundle ${relative(ROOT, path)}: ${left[0]} would point nowhere; read it as text`)
    return { contents, loader: 'ts' }
  })
}

/** koffi without its C++ sources, and the native part for this machine: what builds is what runs. */
function copyKoffi() {
  const packages = join(ROOT, 'node_modules')
  const native = `@koromix/koffi-${process.platform}-${process.arch}`
  const kept =
    /\/koffi(|\/src|\/src\/koffi|\/src\/koffi\/src|\/LICENSE\.txt|\/package\.json|(\/[^/]+)*\/[^/]+\.c?js)$/
  cpSync(join(packages, 'koffi'), join(out, 'node_modules/koffi'), {
    recursive: true,
    filter: (path) => kept.test(path),
  })
  cpSync(join(packages, native), join(out, 'node_modules', native), { recursive: true })
}
