import t from 'tap'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { composeConfig } from '../../compose.js'
import { dataPaths } from '../../model/paths.js'

// Process 1 composes a stranger's file in one turn of its event loop, so no file may make it work for long.

const list = (count: number, item: (index: number) => string): string =>
  Array.from({ length: count }, (_, index) => item(index)).join(',')

/** An operator's file, and one of a workspace that makes most of it where each entry is compared with each. */
const FILES: Readonly<Record<string, readonly [operator: string, workspace: string]>> = {
  'two allowlists': [
    `allowlist: { enabled: true, domains: [${list(10_000, (i) => `'*.h${i}.example'`)}] }`,
    `allowlist: { domains: [${list(10_000, (i) => `a.h${i}.t`)}] }`,
  ],
  'two lists of addresses': [
    `allowlist: { enabled: true, ips: [${list(10_000, (i) => `10.${i >> 8}.${i & 255}.1`)}] }`,
    `allowlist: { ips: [${list(9_000, (i) => `11.${i >> 8}.${i & 255}.1`)}] }`,
  ],
  'egress.allow': [
    `egress: { allow: [${list(10_000, (i) => `10.${i >> 8}.${i & 255}.1`)}] }`,
    `egress: { allow: [${list(9_000, (i) => `11.${i >> 8}.${i & 255}.1`)}] }`,
  ],
  'egress.connect_ports': [
    `egress: { connect_ports: [${list(20_000, (i) => String(i + 1))}] }`,
    `egress: { connect_ports: [${list(20_000, (i) => String(40_000 + i))}] }`,
  ],
  'header rules': [
    `headers: {${list(10_000, (i) => `'*.h${i}.example': {}`)}}`,
    `headers: {${list(8_000, (i) => `'*.${i}.x': {}`)}}`,
  ],
  'allowed and blocked': [
    '{}',
    `allowlist: { domains: [${list(9_000, (i) => `a${i}`)}] }\nblocklist: { domains: [${list(9_000, (i) => `b${i}`)}] }`,
  ],
  'keys that are long and nested': [
    '{}',
    `${Array.from({ length: 15 }, (_, i) => `{${'k'.repeat(1000)}${i}: `).join('')}[${list(50_000, () => '1')}]${'}'.repeat(15)}`,
  ],
  'a key of 60,000 characters': ['{}', `? "${'k'.repeat(60_000)}"\n: [${list(30_000, () => '1')}]`],
  'aliases of a long list': [
    '{}',
    `allowlist:\n  domains: &a [${list(4_900, (i) => `a${i}.example`)}]\nrules:\n${'  - { action: block, hosts: *a }\n'.repeat(98)}`,
  ],
  'locks that are none': ['{}', `locks: [${list(9_000, (i) => `cache.max${i}`)}]`],
}

t.test('whatever a stranger writes, composing it takes time in proportion to its length', async (t) => {
  const folder = t.testdir()
  const dataDir = join(folder, 'data')
  const [operatorFile, workspaceFile] = [join(folder, 'operator.yaml'), join(folder, 'workspace.yaml')]
  mkdirSync(dataPaths(dataDir).proxyDir, { recursive: true })
  const cpuMs = async (operator: string, workspace: string): Promise<number> => {
    writeFileSync(operatorFile, operator)
    writeFileSync(workspaceFile, workspace)
    const before = process.cpuUsage()
    const { inForce } = await composeConfig({ dataDir, operatorFile, workspaceFile })
    const { user, system } = process.cpuUsage(before)
    t.equal(inForce, 'composed')
    return (user + system) / 1000
  }
  // What parsing as much text takes on this machine, once the code is warm.
  const plain = [
    `blocklist: { domains: [${list(10_000, (i) => `'*.h${i}.example'`)}] }`,
    `blocklist: { domains: [${list(17_000, (i) => `h${i}`)}] }`,
  ] as const
  await cpuMs(...plain)
  const yardstick = await cpuMs(...plain)
  for (const [name, files] of Object.entries(FILES)) {
    t.ok(Buffer.byteLength(files[1]) < 128 * 1024, `${name} is a file that is read`)
    const took = await cpuMs(...files)
    // Header rules take four to five times as long as domains: each is a map that is read, merged and written
    // again. Comparing each with each took twenty times as long, and up to a gigabyte.
    t.ok(took < 10 * yardstick, `${name}: ${Math.round(took)} ms, the yardstick ${Math.round(yardstick)} ms`)
  }
  t.ok(process.resourceUsage().maxRSS < 600 * 1024, 'in bounded memory')
})
