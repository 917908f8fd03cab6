import { createHash, randomBytes } from 'node:crypto'
import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs'
import { link, open, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { sameDigest } from '../../base/http/access.js'
import { mkdir } from '../../base/files/files-at-once.js'
import { codeOf, reasonOf } from '../../base/errors.js'
import type { Logger } from '../../base/log/logger.js'

/** 256 bits: nobody guesses it, so tries need not be counted. */
const TOKEN_BYTES = 32
const TOKEN = /^[\w-]{43,128}$/

/** Whether a client showed the token that lets it change the configuration or the store. */
export interface ApiToken {
  /** Why nobody can be let in. */
  readonly missing?: string
  accepts(shown: string): boolean
}

/**
 * The token at `path`, made where there is none; readable for our own user only. Never rejects: the proxy does its
 * work without one, and only changes over the API are refused then.
 */
export async function ensureToken(path: string, logger: Logger): Promise<ApiToken> {
  try {
    await mkdir(dirname(path), { recursive: true })
    const found = (await readToken(path, logger)) ?? (await makeToken(path))
    const expected = digest(found)
    return { accepts: (shown) => sameDigest(digest(shown), expected) }
  } catch (error) {
    const missing = `cannot use ${path}: ${reasonOf(error)}`
    logger.warn({ reason: missing }, 'the configuration cannot be changed over the API')
    return { missing, accepts: () => false }
  }
}

/** Undefined where there is none, or one that cannot be trusted, which is removed. */
async function readToken(path: string, logger: Logger): Promise<string | undefined> {
  let fd: number
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
  let distrust: string | undefined
  try {
    const status = fstatSync(fd)
    const text = status.isFile() && status.size < 1024 ? readFileSync(fd, 'utf8').trim() : ''
    if (!TOKEN.test(text)) distrust = 'it is no token'
    else if (isForeign(status.uid)) distrust = 'it belongs to somebody else'
    else if ((status.mode & 0o077) !== 0) distrust = 'others could read or write it'
    else return text
  } finally {
    closeSync(fd)
  }
  logger.warn({ file: path, reason: distrust }, 'made a new API token')
  await rm(path)
  return undefined
}

/** It appears whole or not at all, and of two proxies that start at once the first one's counts for both. */
async function makeToken(path: string): Promise<string> {
  const token = randomBytes(TOKEN_BYTES).toString('base64url')
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`
  const file = await open(temporary, 'wx', 0o600)
  try {
    await file.writeFile(`${token}\n`)
  } finally {
    await file.close()
  }
  try {
    await link(temporary, path)
    return token
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW)
    try {
      return (await file.readFile('utf8')).trim()
    } finally {
      await file.close()
    }
  } finally {
    await rm(temporary, { force: true })
  }
}

/** Root runs the proxy on data dirs of others, too. */
function isForeign(uid: number): boolean {
  const own = process.geteuid?.()
  return own !== 0 && own !== uid
}

/** Of equal length, whatever was shown. */
function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}
