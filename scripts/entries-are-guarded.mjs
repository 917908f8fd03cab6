/**
 * Whoever listens for an event by which the outside comes in does so with what `entry()` of base/process/entry.ts makes: a
 * throw in such a listener ends the program, and so does a promise of it that rejects.
 */
const EVENTS = new Set([
  'checkContinue',
  'checkExpectation',
  'clientError',
  'connect',
  'connection',
  'request',
  'secure',
  'secureConnection',
  'session',
  'stream',
  'upgrade',
])
/** Those of node:net, tls, http and http2 whose events bring in somebody else's connections, requests and streams. */
const EMITTERS = /^(Http2?)?(Secure)?Server$|^ServerHttp2Session$|^Server<|^TLSSocket$/

export default {
  meta: {
    type: 'problem',
    schema: [],
    messages: {
      bare: 'What comes in here is somebody else’s: make this listener with entry() of base/process/entry.ts.',
    },
  },
  create(context) {
    const { parserServices } = context.sourceCode
    const typeOf = (node) => parserServices.getTypeAtLocation(node)
    const check = (listener) => {
      if (typeOf(listener).getProperty('isEntry') === undefined)
        context.report({ node: listener, messageId: 'bare' })
    }
    return {
      'CallExpression[callee.property.name=/^(on|once|addListener|prependListener)$/]'(node) {
        const [event, listener] = node.arguments
        if (listener === undefined || event.type !== 'Literal' || !EVENTS.has(event.value)) return
        const emitter = typeOf(node.callee.object)
        if (EMITTERS.test(emitter.symbol?.name ?? '')) check(listener)
      },
      'CallExpression[callee.name="createServer"]'(node) {
        const listener = node.arguments.find((argument) => typeOf(argument).getCallSignatures().length > 0)
        if (listener !== undefined) check(listener)
      },
    }
  },
}
