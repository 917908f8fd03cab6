import { sendFile } from '../files/read.js'
import { removePath } from '../files/remove.js'
import type { WorkspaceTree } from '../files/tree.js'
import { makeFolder, writeFile } from '../files/write.js'
import { refuse, SAFE_HEADERS, sendJson } from '../../../base/http/problem.js'
import type { QueryParameter } from '../../../base/http/query.js'
import type { Exchange, Route } from '../../../base/http/route.js'
import type { Limits } from '../settings/settings.js'

interface FilesDeps {
  readonly tree: WorkspaceTree
  readonly limits: Limits
}

const PATH = '/api/files'

const ENTITY_TAG = { description: 'what the file is now; changes with every change of it' }
const BYTES = { 'application/octet-stream': {} }
const IN_WORKSPACE = {
  403: 'the path leads out of the workspace, or permission is denied',
  404: 'there is no such file or folder',
  409: 'what is there is of another kind than the request takes it for',
}

function pathParameter(description: string, required?: true): QueryParameter {
  return { kind: 'text', description, ...(required === undefined ? {} : { required }) }
}

const LISTING = {
  type: 'object',
  required: ['path', 'entries', 'truncated'],
  properties: {
    path: { type: 'string' },
    truncated: { type: 'boolean', description: 'there are more than the 10,000 listed' },
    entries: {
      type: 'array',
      items: {
        type: 'object',
        required: ['name', 'type', 'bytes', 'modified'],
        properties: {
          name: { type: 'string' },
          type: { enum: ['file', 'folder', 'link', 'other'] },
          bytes: { type: 'integer' },
          modified: { type: 'string', format: 'date-time' },
        },
      },
    },
  },
}

export function filesRoutes({ tree, limits }: FilesDeps): readonly Route[] {
  const stallMs = limits.clientTimeoutMs
  return [
    {
      method: 'GET',
      path: PATH,
      access: 'read',
      summary: 'Read a file, or list a folder',
      query: { path: pathParameter('relative to the workspace, which it is itself when left out') },
      headers: {
        Range: { description: 'one range of bytes; of several the whole file is sent' },
        'If-Range': { description: 'an entity tag: the range holds only while the file is this one' },
        'If-None-Match': { description: 'entity tags: 304 when the file is one of them' },
      },
      answers: {
        200: {
          description:
            'the bytes of the file, or what is in the folder by name; a link is not followed there',
          content: { ...BYTES, 'application/json': LISTING },
          headers: { ETag: ENTITY_TAG },
        },
        206: { description: 'the range', content: BYTES, headers: { ETag: ENTITY_TAG } },
        304: { description: 'the file has not changed' },
      },
      problems: { ...IN_WORKSPACE, 416: 'the file ends before the range begins' },
      handle: (exchange) => sendFile(exchange, tree, stallMs),
    },
    {
      method: 'PUT',
      path: PATH,
      access: 'write',
      summary: 'Write a file, or make a folder',
      description:
        'The file changes whole or not at all, and keeps its mode; a link within the workspace stays one.',
      query: {
        path: pathParameter('relative to the workspace', true),
        type: { kind: 'choice', choices: ['file', 'folder'], description: 'file unless it says folder' },
        parents: { kind: 'flag', description: 'folders missing on the way are made' },
      },
      headers: {
        'If-Match': { description: 'entity tags: 412 unless the file is one of them' },
        'If-None-Match': { description: '*: 412 when there is something of that name' },
      },
      body: { description: 'the bytes; none for a folder', content: BYTES, maxBytes: limits.uploadBytes },
      answers: {
        200: {
          description: 'it was there before',
          content: { 'application/json': { type: 'object' } },
          headers: { ETag: ENTITY_TAG },
        },
        201: {
          description: 'it was made',
          content: { 'application/json': { type: 'object' } },
          headers: { ETag: ENTITY_TAG },
        },
      },
      problems: {
        ...IN_WORKSPACE,
        408: 'the body was too slow',
        412: 'the file is not what If-Match or If-None-Match say',
        413: 'the file would be too long',
        507: 'the disk is full',
      },
      handle: (exchange) => put(exchange, tree, limits),
    },
    {
      method: 'DELETE',
      path: PATH,
      access: 'write',
      summary: 'Delete a file, a link or a folder',
      query: {
        path: pathParameter('relative to the workspace', true),
        recursive: { kind: 'flag', description: 'of a folder all that is in it, too' },
      },
      headers: { 'If-Match': { description: 'entity tags: 412 unless the file is one of them' } },
      answers: { 204: { description: 'it is gone' } },
      problems: { ...IN_WORKSPACE, 412: 'the file is not what If-Match says' },
      handle: async ({ request, response, query }) => {
        await removePath(tree, query.text('path') ?? '', query.flag('recursive'), request.headers)
        response.writeHead(204, SAFE_HEADERS).end()
      },
    },
  ]
}

async function put(
  { request, response, query }: Exchange,
  tree: WorkspaceTree,
  limits: Limits,
): Promise<void> {
  const path = query.text('path') ?? ''
  const parents = query.flag('parents')
  if (query.text('type') === 'folder') {
    const { 'content-length': length, 'transfer-encoding': encoding } = request.headers
    if (encoding !== undefined || Number(length ?? 0) > 0) refuse(400, 'a folder is made without a body')
    request.resume()
    const created = await makeFolder(tree, path, parents)
    return sendJson(response, { path, type: 'folder' }, created ? 201 : 200)
  }
  const wanted = { path, parents, maxBytes: limits.uploadBytes, stallMs: limits.clientTimeoutMs }
  const { created, bytes, tag } = await writeFile(tree, request, wanted)
  response.setHeader('etag', tag)
  sendJson(response, { path, type: 'file', bytes }, created ? 201 : 200)
}
