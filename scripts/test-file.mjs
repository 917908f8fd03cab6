import { spawn } from 'node:child_process'
import { delimiter, dirname } from 'node:path'
import { OWN_NODE } from './nodes.mjs'
import { ROOT } from './project.mjs'

const running = new Set()

/** Runs one test file to its end. `end` is undefined where that was a good one. */
export function runTestFile(path, { node, timeoutMs }) {
  const started = Date.now()
  const child = spawn(node.path, [path], {
    cwd: ROOT,
    // tap ends a file that hangs by itself and says where; we are there for one that does not even do that.
    env: { ...environmentFor(node), TAP: '1', TAP_TIMEOUT: String(timeoutMs / 1000) },
    stdio: ['ignore', 'pipe', 'pipe'],
    // A group of its own, so that what a stuck test has started goes with it.
    detached: true,
  })
  running.add(child)
  let [out, err, late] = ['', '', false]
  child.stdout.setEncoding('utf8').on('data', (chunk) => (out += chunk))
  child.stderr.setEncoding('utf8').on('data', (chunk) => (err += chunk))
  const timer = setTimeout(() => {
    late = true
    killGroup(child)
  }, timeoutMs + 10_000)
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => {
      clearTimeout(timer)
      running.delete(child)
      // Whatever the test left behind would hold the pipes open; the file's own output is complete by now.
      const settle = () => {
        resolve({
          out,
          err,
          ms: Date.now() - started,
          end: late ? 'ran into the time limit' : endOf(code, signal),
        })
      }
      const grace = setTimeout(() => {
        killGroup(child)
        child.stdout.destroy()
        child.stderr.destroy()
      }, 1_000)
      child.once('close', () => {
        clearTimeout(grace)
        settle()
      })
    })
  })
}

/** Ends the files under way, with all that they have started. */
export function killRunning() {
  for (const child of running) killGroup(child)
}

/** A program that a test starts as `node`, and every script of npm's, runs on the same Node as the test. */
function environmentFor(node) {
  if (node.path === OWN_NODE.path) return process.env
  return { ...process.env, PATH: `${dirname(node.path)}${delimiter}${process.env.PATH}` }
}

function endOf(code, signal) {
  if (code === 0) return undefined
  return signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`
}

function killGroup(child) {
  try {
    process.kill(-child.pid, 'SIGKILL')
  } catch {
    // It ended at that very moment.
  }
}
