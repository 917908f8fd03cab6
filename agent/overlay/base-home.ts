import { rm } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { chmod } from '../../base/files/files-at-once.js'
import { DiscobotError } from '../../base/errors.js'
import type { Account } from '../process/run-as.js'
import type { CommandOptions, RunCommand } from '../system/command.js'
import { inNewFolder } from '../system/held-folder.js'

interface BaseHomeOptions {
  /** What the image has as the home; copied once. */
  readonly home: string
  readonly base: string
  readonly account: Account
  readonly run: RunCommand
  readonly command: CommandOptions
}

/** The folder below all sessions is none of ours. */
class BaseHomeError extends DiscobotError {
  readonly code = 'BASE_HOME_UNUSABLE'
}

/**
 * The lower folder exists, belongs to the account, and can be reached by it until `closeBase`. It stays as it was
 * first copied: sessions have been laid over it.
 */
export async function openBase({ home, base, account, run, command }: BaseHomeOptions): Promise<void> {
  const name = basename(base)
  const partial = `${base}.partial`
  const found = inNewFolder(dirname(base), (folder) => {
    folder.give({ uid: 0, gid: 0 })
    folder.chmod(0o711)
    return folder.find(name)
  })
  if (found === undefined) {
    await rm(partial, { recursive: true, force: true })
    inNewFolder(partial, () => undefined)
    await run(['cp', '-a', '--', `${home}/.`, partial], command)
    inNewFolder(dirname(base), (folder) => {
      inNewFolder(partial, (copy) => copy.give(account))
      folder.rename(basename(partial), name)
    })
  } else if (!found.isDirectory()) {
    throw new BaseHomeError(`cannot use ${base}: it is not a folder; remove it`)
  } else if (found.uid !== account.uid) {
    // A data dir from elsewhere, where the account had another number. Now: through an overlay it takes 100 times as long.
    // What belongs to others, root's files among them, stays theirs.
    inNewFolder(base, (folder) => folder.giveAll(found.uid, account))
  }
}

/** Nobody but root may get at the layers: to change one while it is mounted is undefined (overlayfs.rst). */
export async function closeBase(base: string): Promise<void> {
  await chmod(dirname(base), 0o700)
}
