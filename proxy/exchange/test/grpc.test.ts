import * as grpc from '@grpc/grpc-js'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { createLeafIssuer } from '../../tls/leaf.js'
import { startProxy, type TestProxy } from '../../../test/lab/harness.js'

/** Bytes as they are: what is tested is the way, not a schema. */
const bytes = {
  requestSerialize: (value: Buffer) => value,
  requestDeserialize: (value: Buffer) => value,
  responseSerialize: (value: Buffer) => value,
  responseDeserialize: (value: Buffer) => value,
}
const SERVICE = {
  unary: { path: '/test.Echo/Unary', requestStream: false, responseStream: false, ...bytes },
  upload: { path: '/test.Echo/Upload', requestStream: true, responseStream: false, ...bytes },
  download: { path: '/test.Echo/Download', requestStream: false, responseStream: true, ...bytes },
  chat: { path: '/test.Echo/Chat', requestStream: true, responseStream: true, ...bytes },
} as const satisfies grpc.ServiceDefinition

const MESSAGE_LIMIT = { 'grpc.max_receive_message_length': 20 * 1024 * 1024 }

interface Echo {
  readonly client: grpc.Client
  /** Resolves when the server sees a call of that name cancelled. */
  cancelled(name: string): Promise<unknown>
  stopServer(): void
}

/** A grpc-js server, and a grpc-js client that reaches it through the proxy as its environment says. */
async function startEcho(t: Test, proxy: TestProxy): Promise<Echo> {
  const issuer = createLeafIssuer(proxy.originAuthority, Date.now)
  const server = new grpc.Server(MESSAGE_LIMIT)
  const cancellations = new Map<string, () => void>()
  const onCancelled = (name: string, call: { on(event: 'cancelled', then: () => void): unknown }): void => {
    call.on('cancelled', () => cancellations.get(name)?.())
  }
  server.addService(SERVICE, {
    unary: (call: grpc.ServerUnaryCall<Buffer, Buffer>, callback: grpc.sendUnaryData<Buffer>) => {
      onCancelled('unary', call)
      const text = call.request.toString('latin1', 0, 20)
      if (text === 'wait') return
      if (text === 'fail') {
        const metadata = new grpc.Metadata()
        metadata.set('x-detail-bin', Buffer.from([0, 1, 255]))
        return callback({ code: grpc.status.FAILED_PRECONDITION, details: 'not so: ä', metadata })
      }
      const trailer = new grpc.Metadata()
      trailer.set('x-trailer', String(call.metadata.get('x-asked')[0]))
      callback(null, call.request, trailer)
    },
    upload: (call: grpc.ServerReadableStream<Buffer, Buffer>, callback: grpc.sendUnaryData<Buffer>) => {
      let length = 0
      call.on('data', (piece: Buffer) => (length += piece.length))
      call.on('end', () => callback(null, Buffer.from(String(length))))
    },
    download: (call: grpc.ServerWritableStream<Buffer, Buffer>) => {
      onCancelled('download', call)
      const count = Number(call.request.toString())
      for (let at = 0; at < count; at += 1) call.write(Buffer.from(`message ${at}`))
      if (count > 0) call.end()
      else call.write(Buffer.from('first'))
    },
    chat: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
      onCancelled('chat', call)
      call.on('data', (piece: Buffer) => {
        if (piece.toString() === 'break') call.destroy(Object.assign(new Error('broken'), { code: 13 }))
        else call.write(Buffer.concat([Buffer.from('echo '), piece]))
      })
      call.on('end', () => call.end())
    },
  })
  const credentials = grpc.ServerCredentials.createSsl(null, [
    { private_key: Buffer.from(issuer.keyPem), cert_chain: Buffer.from(issuer.issue('origin.test')) },
  ])
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) => (error ? reject(error) : resolve(bound))),
  )
  t.teardown(() => server.forceShutdown())
  // Read when a channel is made; nothing else in this process looks at it.
  process.env['grpc_proxy'] = `http://127.0.0.1:${proxy.port}`
  const client = new grpc.Client(
    `origin.test:${port}`,
    grpc.credentials.createSsl(Buffer.from(proxy.caPem)),
    MESSAGE_LIMIT,
  )
  t.teardown(() => client.close())
  return {
    client,
    cancelled: (name) => new Promise<void>((resolve) => cancellations.set(name, resolve)),
    stopServer: () => server.forceShutdown(),
  }
}

interface Unary {
  readonly error: grpc.ServiceError | null
  readonly value: Buffer | undefined
  readonly status: grpc.StatusObject
}

function unary(client: grpc.Client, message: Buffer, metadata = new grpc.Metadata()): Promise<Unary> {
  const { path } = SERVICE.unary
  return new Promise((resolve) => {
    let answer: Pick<Unary, 'error' | 'value'> | undefined
    let status: grpc.StatusObject | undefined
    const settle = (): void => {
      if (answer !== undefined && status !== undefined) resolve({ ...answer, status })
    }
    const call = client.makeUnaryRequest(
      path,
      bytes.requestSerialize,
      bytes.responseDeserialize,
      message,
      metadata,
      { deadline: Date.now() + 15_000 },
      (error, value) => {
        answer = { error, value }
        settle()
      },
    )
    call.on('status', (ended) => {
      status = ended
      settle()
    })
  })
}

t.test('a unary call passes, with metadata, trailers, and messages of 10 MB both ways', async (t) => {
  const { client } = await startEcho(t, await startProxy(t))
  const metadata = new grpc.Metadata()
  metadata.set('x-asked', 'this')
  const small = await unary(client, Buffer.from('hello'), metadata)
  t.equal(small.error, null)
  t.equal(small.value?.toString(), 'hello')
  t.strictSame(small.status.metadata.get('x-trailer'), ['this'])
  const large = randomBytes(10 * 1024 * 1024)
  const answer = await unary(client, large)
  t.equal(answer.error, null)
  t.ok(answer.value?.equals(large))
})

t.test(
  'an error status arrives with its details and binary metadata, where it comes without a body',
  async (t) => {
    const { client } = await startEcho(t, await startProxy(t))
    const { error } = await unary(client, Buffer.from('fail'))
    t.equal(error?.code, grpc.status.FAILED_PRECONDITION)
    t.equal(error?.details, 'not so: ä')
    t.strictSame(error?.metadata.get('x-detail-bin'), [Buffer.from([0, 1, 255])])
    const unknown = await new Promise<grpc.ServiceError | null>((resolve) => {
      client.makeUnaryRequest(
        '/test.Echo/Nothing',
        bytes.requestSerialize,
        bytes.responseDeserialize,
        Buffer.from(''),
        resolve,
      )
    })
    t.equal(unknown?.code, grpc.status.UNIMPLEMENTED)
  },
)

t.test('client, server and two-way streams pass as they come', async (t) => {
  const { client } = await startEcho(t, await startProxy(t))
  const uploaded = await new Promise<Buffer | undefined>((resolve, reject) => {
    const call = client.makeClientStreamRequest(
      SERVICE.upload.path,
      bytes.requestSerialize,
      bytes.responseDeserialize,
      (error: grpc.ServiceError | null, value?: Buffer) => (error ? reject(error) : resolve(value)),
    )
    for (let at = 0; at < 50; at += 1) call.write(Buffer.alloc(20_000))
    call.end()
  })
  t.equal(uploaded?.toString(), '1000000')

  const down = client.makeServerStreamRequest(
    SERVICE.download.path,
    bytes.requestSerialize,
    bytes.responseDeserialize,
    Buffer.from('1000'),
  )
  const messages: string[] = []
  for await (const message of down) messages.push((message as Buffer).toString())
  t.equal(messages.length, 1000)
  t.equal(messages.at(-1), 'message 999')

  const chat = client.makeBidiStreamRequest(
    SERVICE.chat.path,
    bytes.requestSerialize,
    bytes.responseDeserialize,
  )
  for (const word of ['one', 'two', 'three']) {
    // Each waits for the answer to the one before: nothing may be held back on the way.
    chat.write(Buffer.from(word))
    t.equal(String((await once(chat, 'data'))[0]), `echo ${word}`)
  }
  const status = once(chat, 'status') as Promise<[grpc.StatusObject]>
  chat.end()
  t.equal((await status)[0].code, grpc.status.OK)
})

t.test('a cancelled call is cancelled at the server, unary or streaming', async (t) => {
  const { client, cancelled } = await startEcho(t, await startProxy(t))
  const waiting = cancelled('unary')
  const call = client.makeUnaryRequest(
    SERVICE.unary.path,
    bytes.requestSerialize,
    bytes.responseDeserialize,
    Buffer.from('wait'),
    () => undefined,
  )
  // Cancelled before it was sent, the server would never hear of it.
  setTimeout(() => call.cancel(), 300)
  await waiting

  const streaming = cancelled('download')
  const down = client.makeServerStreamRequest(
    SERVICE.download.path,
    bytes.requestSerialize,
    bytes.responseDeserialize,
    Buffer.from('0'),
  )
  const failed = once(down, 'error').catch((error: unknown) => [error]) as Promise<[grpc.ServiceError]>
  await once(down, 'data')
  down.cancel()
  await streaming
  t.equal((await failed)[0].code, grpc.status.CANCELLED)

  const talking = cancelled('chat')
  const chat = client.makeBidiStreamRequest(
    SERVICE.chat.path,
    bytes.requestSerialize,
    bytes.responseDeserialize,
  )
  chat.on('error', () => undefined)
  chat.write(Buffer.from('x'))
  await once(chat, 'data')
  chat.cancel()
  await talking

  const late = await new Promise<grpc.ServiceError | null>((resolve) => {
    client.makeUnaryRequest(
      SERVICE.unary.path,
      bytes.requestSerialize,
      bytes.responseDeserialize,
      Buffer.from('wait'),
      new grpc.Metadata(),
      { deadline: Date.now() + 300 },
      resolve,
    )
  })
  t.equal(late?.code, grpc.status.DEADLINE_EXCEEDED)
})

t.test(
  'a server that dies in the middle of a stream is UNAVAILABLE or so, never an orderly end',
  async (t) => {
    const { client, stopServer } = await startEcho(t, await startProxy(t))
    const chat = client.makeBidiStreamRequest(
      SERVICE.chat.path,
      bytes.requestSerialize,
      bytes.responseDeserialize,
    )
    const failed = new Promise<grpc.ServiceError>((resolve) =>
      chat.on('error', (error) => resolve(error as grpc.ServiceError)),
    )
    chat.write(Buffer.from('x'))
    await once(chat, 'data')
    stopServer()
    t.not((await failed).code, grpc.status.OK)
    const { error } = await unary(client, Buffer.from('hello'))
    t.equal(error?.code, grpc.status.UNAVAILABLE, 'and a call to a server that is gone')
  },
)

t.test('a blocked host is PERMISSION_DENIED', async (t) => {
  const proxy = await startProxy(t, { blocklist: { domains: ['origin.test'], ips: [] } })
  const { client } = await startEcho(t, proxy)
  const { error } = await unary(client, Buffer.from('hello'))
  t.equal(error?.code, grpc.status.PERMISSION_DENIED)
})
