/** `npm run bench [-- OPTIONS]`: builds, then measures the proxy beside its peers; see proxy/bench/README.md. */
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from './build.mjs'
import { ensureInstalled, ROOT } from './project.mjs'

ensureInstalled()
if (!build()) process.exit(1)
await import(pathToFileURL(join(ROOT, 'dist/proxy/bench/main.js')).href)
