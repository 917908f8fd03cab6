/**
 * Who may import whom (docs/architecture.md):
 *
 *   agent ──► proxy/tls/authority (only that) ──► config
 *   agent ──► config ◄── proxy
 *   base, which imports nothing of ours ◄── all of them
 *
 * and besides: no cycles; nothing but tests imports tests; only a `main.ts` reads `process.argv` and `process.env`.
 */
import { readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { ensureInstalled, filesBelow, ROOMS, ROOT } from './project.mjs'

ensureInstalled()
const { default: ts } = await import('typescript')

/** The one module of the proxy that the agent may use: both must agree on the certificate authority. */
const SHARED_BY_PROXY = 'proxy/tls/authority.ts'
/** Room → rooms it may import from, besides itself. */
const MAY_IMPORT = {
  base: [],
  config: ['base'],
  proxy: ['base', 'config'],
  agent: ['base', 'config'],
}

const problems = []
const sources = new Map(
  ROOMS.flatMap((room) => filesBelow(room))
    .filter((path) => path.endsWith('.ts'))
    .map((path) => [path, parse(path)]),
)
for (const [path, { imports }] of sources) {
  for (const one of imports) checkImport(path, one)
}
for (const [path, { globals }] of sources) {
  if (isTest(path) || isBench(path) || path.endsWith('/main.ts')) continue
  for (const { text, line } of globals) {
    problems.push(`${path}:${line}: reads ${text}; only main.ts does, everything else is given what it needs`)
  }
}
findCycles()
checkAuthority()

for (const problem of problems) console.error(problem)
console.log(
  `Imports of ${sources.size} files: ${problems.length === 0 ? 'as they should be' : `${problems.length} wrong`}`,
)
process.exitCode = problems.length === 0 ? 0 : 1

function checkImport(path, { target, line, specifier }) {
  if (target === undefined) return
  const where = `${path}:${line}: imports ${specifier}`
  if (!sources.has(target)) problems.push(`${where}, which is not a source of ours`)
  if (isTest(path)) return
  if (isTest(target)) problems.push(`${where}, which belongs to the tests`)
  const [from, to] = [roomOf(path), roomOf(target)]
  if (from === to || MAY_IMPORT[from].includes(to)) return
  if (from === 'agent' && target === SHARED_BY_PROXY) return
  problems.push(
    `${where}, but ${from} may not import ${to}${from === 'agent' ? ` except ${SHARED_BY_PROXY}` : ''}`,
  )
}

/** What the agent loads through the authority must not be the rest of the proxy by another door. */
function checkAuthority() {
  const seen = new Set()
  const visit = (path) => {
    if (seen.has(path)) return
    seen.add(path)
    for (const { target, typeOnly } of sources.get(path)?.imports ?? []) {
      if (target !== undefined && !typeOnly) visit(target)
    }
  }
  visit(SHARED_BY_PROXY)
  for (const path of seen) {
    if (roomOf(path) === 'proxy' && !path.startsWith('proxy/tls/')) {
      problems.push(`${SHARED_BY_PROXY}: brings ${path} into the agent`)
    }
  }
}

/** Types vanish when compiled, so cycles of `import type` alone do no harm and are left out. */
function findCycles() {
  const state = new Map()
  const trail = []
  const visit = (path) => {
    if (state.get(path) === 'done') return
    if (state.get(path) === 'open') {
      problems.push(`import cycle: ${[...trail.slice(trail.indexOf(path)), path].join(' → ')}`)
      return
    }
    state.set(path, 'open')
    trail.push(path)
    for (const { target, typeOnly, late } of sources.get(path)?.imports ?? []) {
      if (target !== undefined && !typeOnly && !late) visit(target)
    }
    trail.pop()
    state.set(path, 'done')
  }
  for (const path of sources.keys()) visit(path)
}

/** Imports and uses of the process's globals, from the syntax tree: text search would find comments too. */
function parse(path) {
  const file = ts.createSourceFile(path, readFileSync(join(ROOT, path), 'utf8'), ts.ScriptTarget.ES2023, true)
  const imports = []
  const globals = []
  const lineOf = (node) => file.getLineAndCharacterOfPosition(node.getStart(file)).line + 1
  const add = (node, specifier, kind) => {
    const target = specifier.startsWith('.')
      ? normalize(join(dirname(path), specifier)).replace(/\.js$/, '.ts')
      : undefined
    imports.push({ specifier, target, line: lineOf(node), ...kind })
  }
  const visit = (node) => {
    if (
      (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) &&
      node.moduleSpecifier !== undefined
    ) {
      const typeOnly = ts.isImportDeclaration(node) ? isTypeOnly(node.importClause) : node.isTypeOnly
      add(node, node.moduleSpecifier.text, { typeOnly, late: false })
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      if (ts.isStringLiteral(node.arguments[0]))
        add(node, node.arguments[0].text, { typeOnly: false, late: true })
    } else if (ts.isPropertyAccessExpression(node) && /^process\.(argv|env)$/.test(node.getText(file))) {
      globals.push({ text: node.getText(file), line: lineOf(node) })
    } else if (ts.isVariableDeclaration(node) && node.initializer?.getText(file) === 'process') {
      const taken = node.name.getText(file)
      if (/\b(argv|env)\b/.test(taken)) globals.push({ text: `${taken} of process`, line: lineOf(node) })
    }
    ts.forEachChild(node, visit)
  }
  visit(file)
  return { imports, globals }
}

/** `import type …`, or nothing but `type` names in the braces. */
function isTypeOnly(clause) {
  if (clause === undefined) return false
  if (clause.isTypeOnly || clause.phaseModifier === ts.SyntaxKind.TypeKeyword) return true
  const named = clause.namedBindings
  return clause.name === undefined &&
    named !== undefined &&
    ts.isNamedImports(named) &&
    named.elements.length > 0
    ? named.elements.every((element) => element.isTypeOnly)
    : false
}

function roomOf(path) {
  return path.split('/')[0]
}

function isTest(path) {
  return path.split('/').includes('test')
}

function isBench(path) {
  return path.split('/').includes('bench')
}
