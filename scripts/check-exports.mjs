/**
 * Every export has an importer: a name that only its own file uses is not exported, and a file that nothing imports
 * is a program, a test, or not needed. A name that only tests import is theirs to look at, and counts as used.
 *
 *     node scripts/check-exports.mjs [FOLDER]   another copy of the project
 */
import { readFileSync } from 'node:fs'
import { basename, dirname, join, normalize } from 'node:path'
import { ensureInstalled, filesBelow, ROOMS, ROOT } from './project.mjs'

ensureInstalled()
const { default: ts } = await import('typescript')

const root = process.argv[2] ?? ROOT
const EVERY_NAME = '*'
/** Files that are started by a person or a script. So is what another file names by its path, `'./child.js'`. */
const PROGRAMS = [/\/main\.ts$/, /\/bench\//, /\.test\.ts$/, /\.d\.ts$/]

/** Path → what it exports, name → line. */
const exported = new Map()
/** Path → the names that other files take from it. */
const taken = new Map()
/** Names of files that stand in strings, without `.js`. */
const named = new Set()
for (const path of ROOMS.flatMap((room) => filesBelow(room, root)).filter((path) => path.endsWith('.ts'))) {
  const text = readFileSync(join(root, path), 'utf8')
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.ES2023, true)
  exported.set(path, exportsOf(file))
  collectTaken(path, file)
  for (const [, name] of text.matchAll(/['"`/]([\w-]+)(?:\.js)?['"`]/g)) named.add(name)
}

/** Names that a script takes from what it has built. */
const takenByScripts = new Set(
  filesBelow('scripts').flatMap((path) =>
    path.endsWith('.mjs') && !path.includes('node_modules/')
      ? [...readFileSync(join(ROOT, path), 'utf8').matchAll(/\bexports\.(\w+)/g)].map(([, name]) => name)
      : [],
  ),
)

const problems = []
for (const [path, names] of exported) {
  if (PROGRAMS.some((pattern) => pattern.test(path))) continue
  const used = taken.get(path)
  if (used === undefined) {
    if (named.has(basename(path, '.ts'))) continue
    problems.push(`${path}: nothing imports it, and it is no program`)
    continue
  }
  if (used.has(EVERY_NAME)) continue
  for (const [name, line] of names) {
    if (!used.has(name) && !takenByScripts.has(name))
      problems.push(`${path}:${line}: exports ${name}, which no other file imports`)
  }
}
for (const problem of problems) console.error(problem)
console.log(
  `Exports of ${exported.size} files: ${problems.length === 0 ? 'all are imported' : `${problems.length} are not`}`,
)
process.exitCode = problems.length === 0 ? 0 : 1

function exportsOf(file) {
  const names = new Map()
  const add = (node) => names.set(node.text, file.getLineAndCharacterOfPosition(node.getStart(file)).line + 1)
  for (const statement of file.statements) {
    if (ts.isExportDeclaration(statement) && statement.exportClause !== undefined) {
      if (ts.isNamedExports(statement.exportClause)) {
        for (const { name } of statement.exportClause.elements) add(name)
      }
    } else if (ts.canHaveModifiers(statement) && isExported(statement)) {
      if (ts.isVariableStatement(statement)) {
        for (const { name } of statement.declarationList.declarations) addBound(name, add)
      } else if (statement.name !== undefined) add(statement.name)
    }
  }
  return names
}

function isExported(statement) {
  return ts.getModifiers(statement)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword) ?? false
}

/** `export const { a, b: [c] } = …` exports a and c. */
function addBound(name, add) {
  if (ts.isIdentifier(name)) return add(name)
  for (const element of name.elements) if (ts.isBindingElement(element)) addBound(element.name, add)
}

function collectTaken(path, file) {
  const take = (specifier, names) => {
    if (!specifier.startsWith('.')) return
    const target = normalize(join(dirname(path), specifier)).replace(/\.js$/, '.ts')
    const used = taken.get(target) ?? new Set()
    for (const name of names) used.add(name)
    taken.set(target, used)
  }
  const visit = (node) => {
    if (ts.isImportDeclaration(node)) {
      const bindings = node.importClause?.namedBindings
      const named =
        bindings !== undefined && ts.isNamedImports(bindings) ? bindings.elements.map(importedName) : []
      const whole = bindings !== undefined && ts.isNamespaceImport(bindings) ? [EVERY_NAME] : []
      take(node.moduleSpecifier.text, [...named, ...whole])
    } else if (ts.isExportDeclaration(node) && node.moduleSpecifier !== undefined) {
      const clause = node.exportClause
      const names =
        clause !== undefined && ts.isNamedExports(clause) ? clause.elements.map(importedName) : [EVERY_NAME]
      take(node.moduleSpecifier.text, names)
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      const name = node.qualifier?.getText(file).split('.')[0]
      take(node.argument.literal.text, [name ?? EVERY_NAME])
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      if (ts.isStringLiteralLike(node.arguments[0])) take(node.arguments[0].text, [EVERY_NAME])
    }
    ts.forEachChild(node, visit)
  }
  visit(file)
}

function importedName(element) {
  return (element.propertyName ?? element.name).text
}
