import type { LeafName } from '../schema/leaves.js'
import {
  free,
  less,
  loopbackHosts,
  more,
  narrows,
  never,
  onlyStrict,
  withoutSecrets,
  type WorkspaceRule,
} from './workspace-rule.js'

// For each key: whose is it, and who else feels it? The store, the log and the disk are every session's; the proxy's
// process, and what it does for this session's requests, are this session's.

const port = never(
  "the container's processes are told the port",
  (current) =>
    `the container's processes are told to use port ${String(current)}; a workspace may not change it`,
)
const access = never(
  "the operator's: who may use the proxy",
  'a workspace may not say who may use the proxy',
  'no',
)
const way = never(
  "the operator's: by which way traffic goes, with which credentials",
  'a workspace may not say by which way traffic goes',
  'no',
)
const tls = never(
  "the operator's: what is read in the clear, and whom the proxy trusts",
  'a workspace may not change how TLS is opened or trusted',
)
const log = never(
  'whoever reads the log, to see what was blocked and to keep queries out of it',
  "the log is the operator's; a workspace may not change it",
)
const secret = never(
  "the operator's: secrets are not the workspace's to send anywhere",
  "only the operator's file may say where secrets come from and go",
  'no',
)
const shared = never(
  "every session: what one workspace's rules keep would be served to all",
  'a workspace may not say what is shared with others',
  'no',
)
const ownCaching = free("this session's requests only")
const ownRule = free("this session's requests only")
const shorter = less('this session gives up sooner', 'shorter', (ms) => `${ms / 1000}s`)
const lower = less('this session is served less', 'lower', String)
const ownAccessRule = narrows('rules that block only take away', 'may add rules that block')

/**
 * What a workspace's file may say of each value. A key of the schema without a row here does not compile; one that
 * comes without all the same is refused.
 */
export const WORKSPACE_RULES: Readonly<Record<LeafName, WorkspaceRule>> = {
  'proxy.port': port,
  'proxy.api_port': port,
  'proxy.host': loopbackHosts("the container's processes use it; others must not reach it"),
  'proxy.auth.user': access,
  'proxy.auth.password': access,
  'proxy.auth.loopback': access,
  'tls.cert_dir': tls,
  'tls.passthrough': tls,
  'tls.upstream_ca': tls,
  'cache.enabled': ownCaching,
  'cache.dir': never(
    'every session that comes later: nobody clears a folder that one of them chose',
    "the store is every session's; a workspace may not choose its folder",
  ),
  'cache.max_size': more(
    'every session: with a smaller one, what they all have stored is removed; `min_free` bounds a larger one',
    'more than is in force',
    (bytes) => `${bytes} bytes`,
  ),
  'cache.patterns': ownCaching,
  'cache.rules[].name': ownRule,
  'cache.rules[].match.host': ownRule,
  'cache.rules[].match.path': ownRule,
  'cache.rules[].ttl': ownRule,
  'cache.rules[].ignore_query': ownRule,
  'cache.rules[].verify': ownRule,
  'cache.rules[].max_object': ownRule,
  'cache.rules[].expect': ownRule,
  'cache.rules[].no_cache': ownRule,
  'cache.rules[].pass_headers': ownRule,
  'cache.rules[].enabled': ownRule,
  'cache.apart.by': shared,
  'cache.apart.rules': shared,
  'cache.apart.hosts': shared,
  'cache.ttl': ownCaching,
  'cache.stale_if_error': ownCaching,
  'cache.offline': ownCaching,
  'cache.authorization': ownCaching,
  'cache.fill': ownCaching,
  'cache.fill_share': ownCaching,
  'cache.min_free': never(
    'every session: with more, what they all have stored is removed; with less, the disk fills',
    "the disk and the store are every session's; a workspace may not change how much is left free",
  ),
  'cache.memory': less("this session's process", 'less than is in force', (bytes) => `${bytes} bytes`),
  'headers.*.set.*': withoutSecrets("this session's requests to hosts for which the operator has no rule"),
  'headers.*.append.*': withoutSecrets("this session's requests to hosts for which the operator has no rule"),
  'headers.*.conditions[].header': free(
    "this session's requests to hosts for which the operator has no rule",
  ),
  'headers.*.conditions[].equals': withoutSecrets(
    "this session's requests to hosts for which the operator has no rule",
  ),
  'headers.*.insecure': free("nobody's secret is in a workspace's rule"),
  'secrets.*.hosts': secret,
  'secrets.*.env': secret,
  'secrets.*.file': secret,
  'secrets.*.trust_docker': secret,
  'secrets.*.placeholder': secret,
  'secrets.*.placeholder_headers': secret,
  'allowlist.enabled': onlyStrict(
    'an allowlist only takes away',
    true,
    'may switch it on',
    'the operator restricts where traffic may go; a workspace may not lift that',
  ),
  'allowlist.domains': narrows("cut down to what the operator's covers", 'may narrow it'),
  'allowlist.ips': narrows("cut down to what the operator's covers", 'may narrow it'),
  'blocklist.domains': narrows('a blocklist only takes away', 'may add to it'),
  'blocklist.ips': narrows('a blocklist only takes away', 'may add to it'),
  'rules[].name': ownAccessRule,
  'rules[].action': ownAccessRule,
  'rules[].hosts': ownAccessRule,
  'rules[].methods': ownAccessRule,
  'rules[].paths': ownAccessRule,
  'rules[].ports': ownAccessRule,
  'policy.mode': onlyStrict(
    'with `observe`, nothing is blocked',
    'enforce',
    'only `enforce`',
    'the operator has lists and rules enforced',
  ),
  'egress.private': onlyStrict(
    'with `deny`, less may be dialled',
    'deny',
    'only `deny`',
    'the operator denies private addresses',
  ),
  'egress.connect_ports': narrows("cut down to what the operator's covers", 'may narrow it'),
  'egress.allow': narrows("cut down to what the operator's covers", 'may narrow it'),
  'egress.block': narrows('a blocklist only takes away', 'may add to it'),
  'egress.own_ports': never(
    "the operator's: what listens on this machine",
    "a workspace may not open this machine's ports to others",
    'no',
  ),
  'egress.enforce': never(
    "the operator's: whether anything leaves but by the proxy",
    'a workspace may not say whether egress is enforced',
    'no',
  ),
  'egress.dns': onlyStrict(
    'with `refuse`, no name is looked up for who does not use the proxy',
    'refuse',
    'only `refuse`',
    'the operator has names answered',
  ),
  'upstream_proxy.url': way,
  'upstream_proxy.no_proxy': way,
  'upstream_proxy.resolve': way,
  'timeouts.connect': shorter,
  'timeouts.headers': shorter,
  'timeouts.idle': shorter,
  'timeouts.keep_alive': shorter,
  'limits.connections': lower,
  'limits.client_connections': lower,
  'limits.requests': lower,
  'limits.header_bytes': lower,
  'limits.new_hosts': lower,
  'limits.client_new_hosts': lower,
  'logging.level': log,
  'logging.format': log,
  'logging.file': log,
  end_marker: free('says of the file where it ends, and nothing else'),
  locks: never("the operator's: what a workspace may change", "only the operator's file may lock keys", 'no'),
}
