import { list, optional } from './keys.js'
import { hostPattern, path } from './values.js'

export const tlsKeys = {
  cert_dir: optional(path, 'Folder of the certificate authority: ca.crt and ca.key.'),
  passthrough: optional(list(hostPattern), 'Hosts whose TLS passes through unopened.'),
  upstream_ca: optional(list(path), "PEM files trusted for upstream servers besides the system's store."),
}
