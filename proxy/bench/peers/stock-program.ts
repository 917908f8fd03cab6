import { Proxy } from 'http-mitm-proxy'
import { LOOPBACK } from '../../../config/model/paths.js'

// node stock-program.js PORT CA-FOLDER

const [port, sslCaDir = ''] = process.argv.slice(2)
const proxy = new Proxy()
proxy.onError((_context, error, kind) => {
  process.stderr.write(`${kind ?? 'error'}: ${error?.message ?? 'unknown'}\n`)
})
proxy.listen({ host: LOOPBACK, port: Number(port), sslCaDir })
