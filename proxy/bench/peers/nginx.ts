import type { StartPeer } from './peer.js'

/** The origin itself, without a proxy: what the machine and the client can do at all. */
export const startNginx: StartPeer = ({ origin: { pid, caFile, ca } }) =>
  Promise.resolve({
    name: 'nginx',
    caFile,
    ca,
    pid,
    caches: false,
    // The others still need it.
    stop: () => Promise.resolve(),
  })
