/**
 * The rooms of the house (docs/architecture.md). A room is a folder of sources; check-imports.mjs lets it import rooms
 * of the floors below its own and no other, types included, so that no two rooms can need each other.
 */

/** Program → programs that it may import from, besides itself. */
export const MAY_IMPORT = { base: [], config: ['base'], proxy: ['base', 'config'], agent: ['base', 'config'] }

/** The one module of the proxy that the agent may use: both must agree on the certificate authority. */
export const SHARED_BY_PROXY = 'proxy/tls/authority.ts'

/** A program's own folder holds what wires its rooms and nothing else; that of `base` is a room like others. */
export const WIRING = {
  config: ['config/compose.ts'],
  proxy: ['proxy/main.ts', 'proxy/run.ts', 'proxy/server.ts'],
  agent: ['agent/main.ts', 'agent/run.ts'],
}

/** More than a newcomer reads through: such a room gets inner rooms. */
export const MOST_FILES = 25

/** Program → its floors from the ground up: the rooms of each, with what they are for. */
export const FLOORS = {
  base: [
    { base: 'errors, release and version, sizes and spans of time' },
    {
      'base/cli': 'tables of commands: parsing, help, completion; terminals, tables, progress',
      'base/log': 'loggers and where their lines go',
      'base/net': 'host names and patterns, addresses, targets, loopback',
    },
    {
      'base/http':
        'the kit of our HTTP servers: table of routes, guards, access, bodies, answers, streams, OpenAPI',
      'base/oci': 'image references, manifests, registries',
      'base/process': 'entries, handover, held listeners, ready signal, heap',
    },
    { 'base/files': 'text files, files read at once, files that are watched' },
  ],
  config: [
    {
      'config/model': 'the configuration as types; paths, templates, patterns',
      'config/yaml': 'documents with positions, limits, problems',
    },
    { 'config/schema': 'the shape and the bounds of each key' },
    { 'config/layers': 'load, merge, check' },
    { 'config/workspace': 'what an untrusted file may say' },
    { 'config/compose': 'what a configuration comes to: known again, rendered, redacted' },
    { config: 'composes what is in force' },
  ],
  proxy: [
    {
      'proxy/message': 'heads, framing, request target',
      'proxy/watch': 'connections that the kernel has no more',
    },
    {
      'proxy/credentials': 'who may use the proxy, and who could; secrets and the headers that carry them',
      'proxy/h2': 'streams of HTTP/2 in the shape of HTTP/1.1',
      'proxy/policy': 'the decision over names, requests and addresses; observations',
      'proxy/socket': 'peeking, stalls, limits, tunnels',
    },
    {
      'proxy/names': 'look-ups of names, and the name server of an enforced container',
      'proxy/tls': 'the CA, leaf certificates, contexts, trust upstream',
      'proxy/upstream': 'pooled and guarded connections, HTTP/2, the operator’s own proxy',
    },
    {
      'proxy/cache/contract': 'what is asked of the cache, its errors and figures',
      'proxy/cache/entry': 'what an entry is: its meta, headers, digests, names',
    },
    { 'proxy/cache/rules': 'keys, freshness, what may be stored and for whom' },
    { 'proxy/cache/body': 'bytes on their way: readers, pace, proof' },
    {
      'proxy/cache/archive': 'the store as a tar',
      'proxy/cache/store': 'entries on disk, their order, removal and verification',
      'proxy/live': 'follows the configuration file; takes and persists changes',
      'proxy/warm': 'fetching ahead, through our own port',
    },
    {
      'proxy/cache/fill': 'one fetch that feeds disk and readers',
      'proxy/explain': 'the same decisions, told instead of made',
    },
    { 'proxy/cache/answer': 'answers from what is stored or growing' },
    { 'proxy/cache': 'opens the cache and wires its rooms' },
    {
      'proxy/cli': 'the table of the proxy’s commands, which ask a proxy or open its store',
      'proxy/exchange': 'one request from decision to log line; refusals; traffic',
    },
    {
      'proxy/api': '17081: health, figures, live requests, configuration',
      'proxy/entry': 'the ways in: listener, HTTP/2, CONNECT, SOCKS5, interception, passthrough',
    },
    { proxy: 'main, run, and the wiring of the server' },
    { 'proxy/bench/stage': 'what is measured, where and on what' },
    { 'proxy/bench/client': 'clients that measure' },
    { 'proxy/bench/peers': 'the proxies that are measured, and the origin behind them' },
    { 'proxy/bench/measures': 'one figure each' },
    { 'proxy/bench': 'runs the measures and reports' },
  ],
  agent: [
    {
      'agent/process': 'children, reaping, signals, accounts, exit codes',
      'agent/settings': 'options, environment, programs, secrets of the agent itself',
    },
    {
      'agent/cgroups': 'control groups of services',
      'agent/isolate': 'a throwaway container without Docker',
      'agent/logs': 'what services and the agent say, in memory and files',
      'agent/system': 'accounts, files of others, mounts, commands',
    },
    {
      'agent/overlay': 'the session’s own layer over home and workspace',
      'agent/services': 'supervision: start, readiness, restart, stop',
      'agent/workspace': 'clone, copy, submodules, large files',
    },
    { 'agent/docker': 'how dockerd and its client are set up' },
    { 'agent/docker/rootless': 'the engine without root’s rights' },
    { 'agent/wall': 'which level of protection is in force' },
    { 'agent/status': 'what the agent tells of itself; steps and their timeline' },
    { 'agent/control': 'the control socket and its client' },
    { 'agent/boot/findings': 'what the steps find out and later ones build on' },
    { 'agent/boot/steps': 'one file for each step of the boot' },
    {
      'agent/boot': 'the graph of the steps',
      'agent/cli/commands': 'what commands show: status, logs, configuration, health',
      'agent/command': 'the command of a user in the place of the agent API',
    },
    { 'agent/cli/doctor': 'looks at the machine from outside of process 1' },
    { 'agent/cli': 'the table of the agent’s commands, and the welcome' },
    { 'agent/api/command': 'commands of clients', 'agent/api/files': 'files of the workspace' },
    {
      'agent/api/git': 'the workspace’s repository',
      'agent/api/settings': 'what the agent API was told, and who may ask it',
      'agent/api/terminal': 'terminals over WebSocket',
    },
    { 'agent/api/status': 'what is gathered for the status' },
    { 'agent/api/routes': 'the table of what the API does' },
    { 'agent/api': 'main, and the sockets of the server' },
    { agent: 'main, run' },
    { 'agent/bench': 'measures process 1' },
  ],
}
