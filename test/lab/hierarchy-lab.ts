import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Hierarchy } from '../../agent/cgroups/find-hierarchy.js'
import { shortFolder } from './service-lab.js'

/** tap's test object, as far as it is needed here. */
interface Scope {
  teardown(fn: () => unknown): unknown
}

const MOUNT: Readonly<Record<Hierarchy['kind'], readonly string[]>> = {
  v2: ['-t', 'cgroup2'],
  v1: ['-t', 'cgroup', '-o', 'freezer'],
}

/** Why the test of that version cannot be run; a kernel may have given its freezer to version 2 for good. */
export function obstacle(kind: Hierarchy['kind']): string | false {
  if (process.getuid?.() !== 0) return 'needs root to make control groups; CI has it'
  const point = mkdtempSync(join(tmpdir(), 'discobot-'))
  const { status, stderr } = spawnSync('mount', [...MOUNT[kind], 'none', point], { encoding: 'utf8' })
  if (status === 0) execFileSync('umount', [point])
  rmdirSync(point)
  return status === 0 ? false : stderr.trim()
}

/** A group of the test's own in a hierarchy that is mounted for it. */
export function testGroup(t: Scope, kind: Hierarchy['kind']): Hierarchy {
  const point = shortFolder(t)
  execFileSync('mount', [...MOUNT[kind], 'none', point])
  t.teardown(() => execFileSync('umount', [point]))
  const folder = join(point, `discobot-test-${process.pid}`)
  mkdirSync(folder)
  t.teardown(() => rmdirSync(folder))
  return { kind, folder }
}

/** Processes that have the word among their arguments. */
export function running(word: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(word)
      } catch {
        return false
      }
    })
    .map(Number)
}
