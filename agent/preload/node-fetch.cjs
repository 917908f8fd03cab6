'use strict'
/**
 * Sends Node's own `fetch` through the proxy on versions that do not know NODE_USE_ENV_PROXY (before 22.21 and
 * 24.0). Loaded into every Node process by NODE_OPTIONS, so it costs nothing until `fetch` is first called, and
 * is CommonJS because `--import` would make every start asynchronous.
 *
 * Node's fetch is undici, which takes its dispatcher from a documented global symbol
 * (https://github.com/nodejs/undici/blob/main/docs/docs/api/GlobalInstallation.md); the dispatcher's class is the
 * only part of the built-in undici that can be had.
 */
const DISPATCHER = Symbol.for('undici.globalDispatcher.1')
const { env } = process
const proxy = env.HTTPS_PROXY || env.https_proxy

if (
  env.NODE_USE_ENV_PROXY === '1' &&
  proxy &&
  typeof globalThis.fetch === 'function' &&
  !process.allowedNodeEnvironmentFlags.has('--use-env-proxy')
) {
  const plainFetch = globalThis.fetch
  let installed
  const fetch = async function fetch(input, init) {
    await (installed ??= install(plainFetch, new URL(proxy), exceptions(env.NO_PROXY || env.no_proxy || '')))
    return plainFetch(input, init)
  }
  Object.defineProperty(globalThis, 'fetch', {
    value: fetch,
    writable: true,
    enumerable: true,
    configurable: true,
  })
}

async function install(plainFetch, proxyUrl, goesDirect) {
  // The built-in undici is loaded, and its dispatcher made, by the first fetch.
  await plainFetch('data:,')
  const Agent = globalThis[DISPATCHER].constructor
  const connect = (target, callback) => {
    const port = Number(target.port) || (target.protocol === 'https:' ? 443 : 80)
    const open = goesDirect(target.hostname) ? openDirect : openTunnel
    const socket = open(proxyUrl, target.hostname, port, (error) => {
      if (error) return callback(error)
      if (target.protocol !== 'https:') return callback(null, socket)
      const servername =
        target.servername || (require('node:net').isIP(target.hostname) ? '' : target.hostname)
      const secure = require('node:tls').connect({ socket, servername, ALPNProtocols: ['http/1.1'] })
      secure.once('error', callback).once('secureConnect', () => {
        secure.off('error', callback)
        callback(null, secure)
      })
    })
  }
  globalThis[DISPATCHER] = new Agent({ connect })
}

function openDirect(_proxyUrl, host, port, opened) {
  const socket = require('node:net').connect(port, host.replace(/^\[|\]$/g, ''))
  return socket.once('error', opened).once('connect', () => {
    socket.off('error', opened)
    opened()
  })
}

/** RFC 9110, 9.3.6: everything goes by CONNECT, plain http too. */
function openTunnel(proxyUrl, host, port, opened) {
  const socket = require('node:net').connect(Number(proxyUrl.port) || 80, proxyUrl.hostname)
  let head = ''
  const fail = (error) => {
    socket.destroy()
    opened(error)
  }
  const onEnd = () => fail(new Error('the proxy closed the connection'))
  const onData = (chunk) => {
    head += chunk.toString('latin1')
    if (!head.includes('\r\n\r\n')) return
    socket.pause()
    socket.off('data', onData).off('end', onEnd).off('error', fail)
    if (/^HTTP\/1\.[01] 200/.test(head)) opened()
    else fail(new Error(`the proxy refused: ${head.split('\r\n', 1)[0]}`))
  }
  socket.on('error', fail).on('end', onEnd).on('data', onData)
  return socket.once('connect', () =>
    socket.write(`CONNECT ${host}:${port} HTTP/1.1\r\nHost: ${host}:${port}\r\n\r\n`),
  )
}

/** NO_PROXY as curl reads it: names that also cover what is below them, and `*`. */
function exceptions(list) {
  const names = list
    .toLowerCase()
    .split(/[\s,]+/)
    .filter(Boolean)
    .map((name) => name.replace(/^\*?\./, ''))
  return (hostname) => {
    const host = hostname.toLowerCase().replace(/^\[|\]$/g, '')
    return names.some((name) => name === '*' || host === name || host.endsWith(`.${name}`))
  }
}
