import { startBundle, startDiscobot } from './discobot.js'
import { startNginx } from './nginx.js'
import type { PeerName, StartPeer } from './peer.js'
import { startSquid } from './squid.js'
import { startStock } from './stock.js'

export const PEERS: Readonly<Record<PeerName, StartPeer>> = {
  discobot: startDiscobot,
  bundle: startBundle,
  squid: startSquid,
  stock: startStock,
  nginx: startNginx,
}
