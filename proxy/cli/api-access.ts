import { readFile } from 'node:fs/promises'
import { dataPaths, DEFAULT_DATA_DIR } from '../../config/model/paths.js'
import type { ApiCall } from './api-client.js'

/** What a command shows the API where that asks for something. */
export type ApiAccess = Pick<ApiCall, 'token' | 'login'>

/** By which clients are told of a proxy, with name and password where it wants them. */
const PROXY_VARIABLES = ['HTTP_PROXY', 'http_proxy', 'HTTPS_PROXY', 'https_proxy', 'ALL_PROXY', 'all_proxy']

/** The API's token, for those who may read it; else the name and password with which this client uses the proxy. */
export async function apiAccess(env: Readonly<Record<string, string | undefined>>): Promise<ApiAccess> {
  const { DISCOBOT_DATA_DIR: dataDir } = env
  const { apiToken } = dataPaths(dataDir === undefined || dataDir === '' ? DEFAULT_DATA_DIR : dataDir)
  const token = await readFile(apiToken, 'utf8').catch(() => undefined)
  if (token !== undefined) return { token: token.trim() }
  for (const name of PROXY_VARIABLES) {
    const url = env[name] ?? ''
    const { username = '', password = '' } = URL.canParse(url) ? new URL(url) : {}
    if (username !== '') return { login: { user: bytesOf(username), password: bytesOf(password) } }
  }
  return {}
}

/** Percent-decoded, as latin1 text of the bytes. */
function bytesOf(escaped: string): string {
  try {
    return Buffer.from(decodeURIComponent(escaped)).toString('latin1')
  } catch {
    return escaped
  }
}
