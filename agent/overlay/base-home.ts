import { rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { chmod, chown, lstat, mkdir, rename } from '../../config/files-at-once.js'
import type { Account } from '../services/run-as.js'
import type { CommandOptions, RunCommand } from '../system/command.js'

export interface BaseHomeOptions {
  /** What the image has as the home; copied once. */
  readonly home: string
  readonly base: string
  readonly account: Account
  readonly run: RunCommand
  readonly command: CommandOptions
}

/**
 * The lower folder exists, belongs to the account, and can be reached by it until `closeBase`. It stays as it was
 * first copied: sessions have been laid over it.
 */
export async function openBase({ home, base, account, run, command }: BaseHomeOptions): Promise<void> {
  const folder = dirname(base)
  await chmod(folder, 0o711)
  const partial = `${base}.partial`
  const found = await lstat(base).catch(() => undefined)
  if (found === undefined) {
    await rm(partial, { recursive: true, force: true })
    await mkdir(partial, { mode: 0o755 })
    await run(['cp', '-a', '--', `${home}/.`, partial], command)
    await chown(partial, account.uid, account.gid)
    await rename(partial, base)
  } else if (found.uid !== account.uid) {
    // A data dir from elsewhere, where the account had another number. Now: through an overlay it takes 100 times as long.
    await run(['chown', '-hR', `${account.uid}:${account.gid}`, '--', base], command)
  }
}

/** Nobody but root may get at the layers: to change one while it is mounted is undefined (overlayfs.rst). */
export async function closeBase(base: string): Promise<void> {
  await chmod(dirname(base), 0o700)
}
