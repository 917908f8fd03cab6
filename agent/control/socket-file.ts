import { chmodSync, chownSync, lstatSync, mkdirSync, unlinkSync } from 'node:fs'
import type { Server } from 'node:http'
import { connect } from 'node:net'
import { dirname } from 'node:path'
import { codeOf, reasonOf } from '../../base/errors.js'
import { ControlSocketError } from './errors.js'

/** Owner and group; nobody else. */
const SOCKET_MODE = 0o660
/** The same as a umask: the socket must not be open to all for the moment between bind and chmod. */
const SOCKET_UMASK = 0o117
/** unix(7): 108 bytes with the final NUL. A longer path is cut off silently, and the socket made elsewhere. */
const MAX_PATH_BYTES = 107

/**
 * Removes what a dead agent left at the path; a socket that answers is not ours.
 *
 * @throws ControlSocketError
 */
export async function clearWay(socketPath: string): Promise<void> {
  if (Buffer.byteLength(socketPath) > MAX_PATH_BYTES) {
    throw new ControlSocketError(socketPath, `the path of a socket may have ${MAX_PATH_BYTES} bytes at most`)
  }
  try {
    mkdirSync(dirname(socketPath), { recursive: true, mode: 0o755 })
    if (!lstatSync(socketPath).isSocket()) {
      throw new ControlSocketError(socketPath, 'there is a file of that name that is no socket')
    }
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return
    if (error instanceof ControlSocketError) throw error
    throw new ControlSocketError(socketPath, reasonOf(error), { cause: error })
  }
  if (await isAlive(socketPath)) throw new ControlSocketError(socketPath, 'another agent answers there')
  unlinkSync(socketPath)
}

function isAlive(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(socketPath)
    socket.on('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.on('error', () => resolve(false))
  })
}

/** @param gid who may connect besides the owner; absent means our own group. */
export async function listenOn(server: Server, socketPath: string, gid: number | undefined): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    // bind(2) happens within listen() for a path, so the umask need not stay.
    const umask = process.umask(SOCKET_UMASK)
    try {
      server.listen(socketPath, () => {
        server.off('error', reject)
        resolve()
      })
    } finally {
      process.umask(umask)
    }
  })
  if (gid !== undefined) chownSync(socketPath, process.getuid?.() ?? 0, gid)
  chmodSync(socketPath, SOCKET_MODE)
}
