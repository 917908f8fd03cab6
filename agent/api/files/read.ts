import type { BigIntStats } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { writePaced } from '../../../base/http/paced-write.js'
import { refuse, SAFE_HEADERS, sendJson } from '../../../base/http/problem.js'
import type { Exchange } from '../../../base/http/route.js'
import { listFolder } from './list.js'
import { readRange } from './range.js'
import { Folder, type WorkspaceTree } from './tree.js'
import { entityTag, namesTag } from './version.js'

/** One read(2): enough that the loop is not what limits, little enough to hold for each of many readers. */
const CHUNK_BYTES = 256 * 1024

/** Answers with the bytes of a file, or with what is in a folder. */
export async function sendFile(
  { request, response, query }: Exchange,
  tree: WorkspaceTree,
  stallMs: number,
): Promise<void> {
  const path = query.text('path') ?? ''
  const file = await tree.openAny(path)
  try {
    const stats = await file.stat({ bigint: true })
    if (stats.isDirectory()) return sendJson(response, { path, ...(await listFolder(new Folder(file))) })
    if (!stats.isFile()) refuse(409, `${JSON.stringify(path)}: it is neither a file nor a folder`)
    const tag = entityTag(stats)
    const ifNoneMatch = request.headers['if-none-match']
    if (ifNoneMatch !== undefined && namesTag(ifNoneMatch, tag)) {
      response.writeHead(304, { etag: tag, ...SAFE_HEADERS }).end()
      return
    }
    await sendBytes(request, response, file, stats, stallMs)
  } finally {
    await file.close()
  }
}

async function sendBytes(
  request: Exchange['request'],
  response: Exchange['response'],
  file: FileHandle,
  stats: BigIntStats,
  stallMs: number,
): Promise<void> {
  const size = Number(stats.size)
  const tag = entityTag(stats)
  const { range, 'if-range': ifRange } = request.headers
  const asked = readRange({ range, ifRange: ifRange?.toString() }, tag, size)
  const { first, last } = asked ?? { first: 0, last: size - 1 }
  response.writeHead(asked === undefined ? 200 : 206, {
    ...SAFE_HEADERS,
    'content-type': 'application/octet-stream',
    'content-disposition': 'attachment',
    'content-length': last - first + 1,
    ...(asked === undefined ? {} : { 'content-range': `bytes ${first}-${last}/${size}` }),
    'accept-ranges': 'bytes',
    'last-modified': new Date(Number(stats.mtimeMs)).toUTCString(),
    etag: tag,
  })
  if (request.method === 'HEAD' || last < first) return void response.end()
  let sent = 0
  const wanted = last - first + 1
  const reading = { start: first, end: last, highWaterMark: CHUNK_BYTES, autoClose: false }
  for await (const chunk of file.createReadStream(reading)) {
    await writePaced(response, chunk as Buffer, stallMs)
    sent += (chunk as Buffer).length
  }
  // Somebody has cut it short meanwhile; the client must not take what it has for the whole.
  if (sent < wanted) response.destroy()
  else response.end()
}
