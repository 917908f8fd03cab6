/**
 * `npm start`: the whole system with nothing but Node and npm. The agent runs in this very process, so that
 * Ctrl-C and signals reach it as they would without us.
 *
 *   npm start                    data in ./.data, an empty workspace
 *   npm start -- --isolate       as a real process 1 in namespaces of its own (root)
 */
import { pathToFileURL } from 'node:url'
import { join } from 'node:path'
import { build } from './build.mjs'
import { ensureInstalled, ROOT } from './project.mjs'

ensureInstalled()
if (!build()) process.exit(1)

process.env.DISCOBOT_DATA_DIR ||= join(ROOT, '.data')
const main = join(ROOT, 'dist/agent/main.js')
const given = process.argv.slice(2)
// Options alone belong to `run`; a word is a command of its own, such as `npm start -- status`.
const isCommand = given[0] !== undefined && !given[0].startsWith('-')
process.argv = [process.execPath, main, ...(isCommand ? given : ['run', ...given])]
await import(pathToFileURL(main).href)
