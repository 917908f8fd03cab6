import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Script } from 'node:vm'
import { fail, ROOT } from './project.mjs'

/** Longer than a start takes on a small machine that is busy with something else. */
const LIMIT_MS = 60_000

/**
 * Starts each program of the bundle in `out` once, as a service of a throw-away data folder, and keeps what V8 made of
 * its code beside it. The programs answer before they are ended, so that the first answer is quick as well.
 */
export async function writeCodeCaches(out) {
  const folder = mkdtempSync(join(tmpdir(), 'discobot-bundle-'))
  try {
    const [port, apiPort, agentPort] = await freePorts(3)
    const config = join(folder, 'ports.yaml')
    writeFileSync(config, `proxy: { port: ${port}, api_port: ${apiPort} }\n`)
    const env = {
      PATH: process.env.PATH,
      HOME: folder,
      DISCOBOT_DATA_DIR: join(folder, 'data'),
      DISCOBOT_AGENT_PORT: String(agentPort),
      DISCOBOT_PROXY_CONFIG: config,
      DISCOBOT_DOCKER: 'off',
    }
    const health = { proxy: [apiPort, '/health'], agentApi: [agentPort, '/health'] }
    const agent = () => record(out, 'agent', ['run'], env, [health.proxy, health.agentApi])
    // Makes the CA, and what that takes is no part of a usual start.
    await agent()
    // With the file that the agent wrote, as in a container.
    await record(out, 'proxy', ['-config', join(folder, 'data/proxy/config.yaml')], env, [health.proxy])
    await record(out, 'agent-api', [], env, [health.agentApi])
    await agent()
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

async function record(out, name, args, env, questions) {
  const recorder = join(ROOT, 'scripts/program/record.cjs')
  const program = join(out, `${name}.cjs`)
  const file = readdirSync(out).find((found) => found.startsWith(`${name}.`) && found.endsWith('.code.js'))
  const base = join(out, file.slice(0, -'.code.js'.length))
  // What an earlier cache brings in would be written again.
  rmSync(`${base}.cache`, { force: true })
  const child = spawn(process.execPath, ['--require', recorder, program, ...args], {
    env,
    cwd: env.HOME,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (piece) => (said += piece))
  const ended = once(child, 'exit')
  const limit = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS)
  for (const [port, path] of questions) await answer(port, path, child)
  child.kill('SIGTERM')
  const [code] = await ended
  clearTimeout(limit)
  if (code !== 0) fail(`cannot start the bundled ${name} to record what it compiles:\n${said}`)
  if (!isAccepted(base)) fail(`cannot use the code cache that was just written for ${name}`)
}

/** Resolves with the first good answer, or when the program has ended instead. */
async function answer(port, path, child) {
  while (child.exitCode === null && child.signalCode === null) {
    const response = await fetch(`http://127.0.0.1:${port}${path}`).catch(() => undefined)
    await response?.arrayBuffer()
    if (response?.ok === true) return
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

function isAccepted(base) {
  const filename = `${base}.code.js`
  const cachedData = readFileSync(`${base}.cache`)
  return new Script(readFileSync(filename, 'latin1'), { filename, cachedData }).cachedDataRejected === false
}

/** All at once, so that none is given twice. */
async function freePorts(count) {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map((server) => once(server, 'listening')))
  const ports = servers.map((server) => server.address().port)
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}
