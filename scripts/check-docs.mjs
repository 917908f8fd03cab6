/**
 * Checks the documentation and the comments: links of Markdown and the headings they name exist, so do paths of this
 * repository, and every table has as many columns in its second row as in its first, or it is not shown as a table.
 *
 *     node scripts/check-docs.mjs [FOLDER]   another copy of the project
 */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { filesBelow, ROOMS, ROOT } from './project.mjs'

/** Folders at the root whose paths are looked for in text. What follows must look like a file, or end in a slash. */
const PATH =
  /(?<![\w./-])(?:agent|base|config|docs|host|proxy|scripts|test|\.ci)\/[\w./-]*(?:\.[a-z]{2,4}|\/)(?![\w*<{…-])/g
/** Paths below a data directory begin alike. */
const DATA = /^proxy\/(?:config\.yaml|certs\/|cache\/$|cache\/[0-9a-f]|logs?\/|api-token)/

process.chdir(process.argv[2] ?? ROOT)
const files = [
  ...readdirSync('.').filter((name) => name.endsWith('.md')),
  ...[...ROOMS, 'docs', 'scripts']
    .flatMap((folder) => filesBelow(folder, process.cwd()))
    .filter((path) => !path.includes('node_modules/')),
]
const problems = []
for (const path of files) {
  if (path.endsWith('.md')) checkMarkdown(path)
  else if (/\.(ts|mjs|cjs|yaml)$/.test(path)) checkComments(path)
}
for (const problem of problems) console.error(problem)
console.log(
  `Links and paths: ${problems.length === 0 ? 'all lead somewhere' : `${problems.length} lead nowhere`}`,
)
process.exitCode = problems.length === 0 ? 0 : 1

function checkMarkdown(path) {
  const text = readFileSync(path, 'utf8')
  const prose = text.replace(/^```[\s\S]*?^```/gm, (block) => block.replace(/[^\n]/g, ' '))
  for (const match of prose.matchAll(/\]\(([^)\s]+)\)/g)) checkLink(path, lineAt(text, match.index), match[1])
  checkPaths(path, text)
  checkTables(path, prose)
}

/** GitHub Flavored Markdown, 4.10: a delimiter row that does not match the header row makes no table. */
function checkTables(path, prose) {
  const lines = prose.split('\n')
  const columns = (line) =>
    line
      .trim()
      .replace(/\\\||`[^`]*`/g, '')
      .split('|').length - 2
  lines.forEach((line, index) => {
    if (!/^\s*\|(\s*:?-+:?\s*\|)+\s*$/.test(line)) return
    const header = lines[index - 1] ?? ''
    if (columns(header) === columns(line)) return
    problems.push(
      `${path}:${index + 1}: a table of ${columns(header)} columns with a second row of ${columns(line)}`,
    )
  })
}

function checkLink(path, line, link) {
  if (/^[a-z]+:/.test(link)) return
  const [file, anchor] = link.split('#')
  const target = file === '' ? path : normalize(join(dirname(path), file))
  if (!existsSync(target)) problems.push(`${path}:${line}: links to ${link}, which does not exist`)
  else if (anchor !== undefined && statSync(target).isFile() && !anchors(target).has(anchor)) {
    problems.push(`${path}:${line}: links to ${link}, but ${target} has no such heading`)
  }
}

function checkComments(path) {
  const text = readFileSync(path, 'utf8')
  const comments = text.replace(/\/\*[\s\S]*?\*\/|\/\/.*|^\s*#.*|[^\n]/gm, (part) =>
    part.length > 1 ? part : ' ',
  )
  checkPaths(path, comments)
}

function checkPaths(path, text) {
  for (const { 0: named, index } of text.matchAll(PATH)) {
    const built = named.replace(/\.js$/, '.ts')
    if (DATA.test(named) || existsSync(named) || existsSync(built)) continue
    problems.push(`${path}:${lineAt(text, index)}: names ${named}, which does not exist`)
  }
}

/** The names GitHub and others give to headings. */
function anchors(file) {
  const headings = readFileSync(file, 'utf8').matchAll(/^#+ (.+)$/gm)
  return new Set(
    [...headings].map(([, title]) =>
      title
        .toLowerCase()
        .replace(/[^\p{L}\p{N}\s_-]/gu, '')
        .trim()
        .replace(/\s/g, '-'),
    ),
  )
}

function lineAt(text, index) {
  return text.slice(0, index).split('\n').length
}
