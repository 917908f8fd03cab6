/**
 * Who may import whom: rooms.mjs has the table of programs, rooms and floors. No arrow up and none aside, no cycle, types
 * included; every folder of sources is a room of the table; nothing but tests imports tests, and a test takes helpers
 * from its own folder or from test/lab. Only a `main.ts` reads `process.argv` and `process.env`.
 *
 *     node scripts/check-imports.mjs [FOLDER]   another copy of the project
 */
import { readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { ensureInstalled, filesBelow, ROOMS, ROOT } from './project.mjs'
import { FLOORS, MAY_IMPORT, MOST_FILES, SHARED_BY_PROXY, WIRING } from './rooms.mjs'

ensureInstalled()
const { default: ts } = await import('typescript')

const root = process.argv[2] ?? ROOT
const problems = []
const sources = new Map(
  ROOMS.flatMap((folder) => filesBelow(folder, root))
    .filter((path) => path.endsWith('.ts'))
    .map((path) => [path, parse(path)]),
)
/** Room → how many floors are below it in its program. */
const floors = new Map(
  Object.values(FLOORS).flatMap((levels) =>
    levels.flatMap((rooms, floor) => Object.keys(rooms).map((room) => [room, floor])),
  ),
)

checkRooms()
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

printRooms()
for (const problem of problems) console.error(problem)
console.log(
  `Imports of ${sources.size} files: ${problems.length === 0 ? 'as they should be' : `${problems.length} wrong`}`,
)
process.exitCode = problems.length === 0 ? 0 : 1

/** Every folder has its row, every row its folder. */
function checkRooms() {
  const counts = new Map()
  for (const path of sources.keys()) {
    const folder = dirname(path)
    counts.set(folder, (counts.get(folder) ?? 0) + 1)
  }
  for (const [folder, count] of counts) {
    if (count > MOST_FILES) {
      problems.push(`${folder}: holds ${count} files, more than ${MOST_FILES}; give it inner rooms`)
    }
    const room = isTest(`${folder}/`) ? testedRoom(folder) : folder
    if (room !== undefined && !floors.has(room)) {
      problems.push(`${folder}: ${room} has no row in scripts/rooms.mjs; give it a floor there`)
    }
  }
  for (const room of floors.keys()) {
    if (!counts.has(room)) problems.push(`scripts/rooms.mjs: there are no sources in ${room}`)
  }
  for (const path of sources.keys()) {
    const wiring = WIRING[dirname(path)]
    if (wiring === undefined || wiring.includes(path)) continue
    problems.push(`${path}: ${dirname(path)}/ holds what wires its rooms; this belongs in one of them`)
  }
}

function checkImport(path, { target, line, specifier }) {
  if (target === undefined) return
  const where = `${path}:${line}: imports ${specifier}`
  if (!sources.has(target)) problems.push(`${where}, which is not a source of ours`)
  if (isTest(path)) return checkTestImport(path, target, where)
  if (isTest(target)) problems.push(`${where}, which belongs to the tests`)
  const [from, to] = [programOf(path), programOf(target)]
  if (from !== to) {
    if (MAY_IMPORT[from].includes(to) || (from === 'agent' && target === SHARED_BY_PROXY)) return
    problems.push(
      `${where}, but ${from} may not import ${to}${from === 'agent' ? ` except ${SHARED_BY_PROXY}` : ''}`,
    )
    return
  }
  const [room, other] = [dirname(path), dirname(target)]
  const [floor, below] = [floors.get(room), floors.get(other)]
  if (room === other || floor === undefined || below === undefined || below < floor) return
  problems.push(
    `${where}, but ${room} (floor ${floor}) imports only rooms below it, and ${other} is on floor ${below}`,
  )
}

/** What several rooms' tests share has a place of its own, so that no test depends on another room's tests. */
function checkTestImport(path, target, where) {
  const place = testPlace(target)
  if (place === undefined || place === 'test' || place === testPlace(path)) return
  problems.push(`${where}, which belongs to the tests of ${dirname(place)}; what tests share is in test/lab`)
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
    if (programOf(path) === 'proxy' && !path.startsWith('proxy/tls/')) {
      problems.push(`${SHARED_BY_PROXY}: brings ${path} into the agent`)
    }
  }
}

/** Within a room too, and by types as well: two files that need each other are one, or lack a third. */
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
    for (const { target } of sources.get(path)?.imports ?? []) {
      if (target !== undefined) visit(target)
    }
    trail.pop()
    state.set(path, 'done')
  }
  for (const path of sources.keys()) visit(path)
}

function printRooms() {
  for (const [program, levels] of Object.entries(FLOORS)) {
    levels.forEach((rooms, floor) => {
      console.log(`${program.padEnd(8)}${String(floor).padStart(2)}  ${Object.keys(rooms).join('  ')}`)
    })
  }
}

/** Imports and uses of the process's globals, from the syntax tree: text search would find comments too. */
function parse(path) {
  const file = ts.createSourceFile(path, readFileSync(join(root, path), 'utf8'), ts.ScriptTarget.ES2023, true)
  const imports = []
  const globals = []
  const lineOf = (node) => file.getLineAndCharacterOfPosition(node.getStart(file)).line + 1
  const add = (node, specifier, typeOnly) => {
    const target = specifier.startsWith('.')
      ? normalize(join(dirname(path), specifier)).replace(/\.js$/, '.ts')
      : undefined
    imports.push({ specifier, target, line: lineOf(node), typeOnly })
  }
  const visit = (node) => {
    if (
      (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) &&
      node.moduleSpecifier !== undefined
    ) {
      const typeOnly = ts.isImportDeclaration(node) ? isTypeOnly(node.importClause) : node.isTypeOnly
      add(node, node.moduleSpecifier.text, typeOnly)
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      if (ts.isStringLiteral(node.arguments[0])) add(node, node.arguments[0].text, false)
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      add(node, node.argument.literal.text, true)
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

function programOf(path) {
  return path.split('/')[0]
}

/** `proxy/cache/test` of a file anywhere in it; undefined outside of tests. */
function testPlace(path) {
  return /^(?:.*\/)?test(?=\/)/.exec(path)?.[0]
}

/** The room that a folder of tests belongs to; undefined for the tests of the whole project. */
function testedRoom(folder) {
  const place = testPlace(`${folder}/`)
  return place === 'test' ? undefined : dirname(place)
}

function isTest(path) {
  return path.split('/').includes('test')
}

function isBench(path) {
  return path.split('/').includes('bench')
}
