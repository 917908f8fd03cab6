/**
 * `npm run bench [-- OPTIONS]`: builds, then measures the proxy beside its peers; see proxy/bench/README.md.
 * `npm run bench:agent [-- OPTIONS]`: the same for process 1; see docs/comparison.md.
 */
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from './build.mjs'
import { ensureInstalled, ROOT } from './project.mjs'

const ofAgent = process.argv[2] === 'agent'
if (ofAgent) process.argv.splice(2, 1)
ensureInstalled()
// The agent is measured as the image has it.
if (ofAgent) await import('./bundle.mjs')
if (!build()) process.exit(1)
await import(pathToFileURL(join(ROOT, `dist/${ofAgent ? 'agent' : 'proxy'}/bench/main.js`)).href)
