import { imageLine, OWN_NODE, pinnedLines, pinnedNode } from './nodes.mjs'
import { fail } from './project.mjs'

const USAGE = 'npm test -- [--node N[,N…] | --every-node] [PATTERN…]'

/**
 * The arguments of `npm test`: on which Nodes, and which files.
 *
 * Every Node means the whole suite on our own and on the image's, and on the others all but the serial files: those
 * test engines, browsers and endurance, which differ little with Node, and take most of the time.
 */
export function planOf(args) {
  const patterns = []
  let lines
  let everyNode = false
  for (let at = 0; at < args.length; at += 1) {
    const arg = args[at]
    if (arg === '--every-node') everyNode = true
    else if (arg === '--node') lines = linesOf(args[(at += 1)])
    else if (arg.startsWith('-')) fail(`cannot test: there is no option ${arg}; ${USAGE}`, 2)
    else patterns.push(arg)
  }
  if (everyNode && lines !== undefined)
    fail(`cannot test: --every-node and --node exclude each other; ${USAGE}`, 2)
  if (everyNode) return { patterns, runs: everyRun() }
  if (lines === undefined) return { patterns, runs: [{ node: OWN_NODE, serial: true }] }
  return { patterns, runs: lines.map((line) => ({ node: pinnedNode(line), serial: true })) }
}

function everyRun() {
  const whole = [{ node: OWN_NODE, serial: true }]
  const image = pinnedNode(imageLine())
  if (lineOf(image) !== lineOf(OWN_NODE)) whole.push({ node: image, serial: true })
  const others = pinnedLines()
    .filter((line) => whole.every(({ node }) => lineOf(node) !== line))
    .map(pinnedNode)
  return [...whole, ...others.map((node) => ({ node, serial: false }))]
}

function lineOf({ version }) {
  return Number.parseInt(version, 10)
}

function linesOf(value) {
  const lines = value?.split(',').map(Number) ?? []
  if (lines.length === 0 || !lines.every(Number.isInteger)) {
    fail(
      `cannot test on Node ${JSON.stringify(value ?? '')}: --node takes a line such as 24, or several: 22,24`,
      2,
    )
  }
  return lines
}
