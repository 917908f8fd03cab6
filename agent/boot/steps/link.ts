import { lstat, readlink, rename, rmdir, symlink, unlink } from '../../../config/files-at-once.js'
import { codeOf, DiscobotError } from '../../../config/errors.js'
import type { BootStep } from '../step.js'

/** Something of the operator's is where the link belongs. */
export class LinkError extends DiscobotError {
  readonly code = 'WORKSPACE_LINK_TAKEN'
}

/** The workspace's second name, which agents and scripts use without knowing the account. */
export function linkStep(link: string, target: string): BootStep {
  return {
    name: 'link',
    needs: ['workspace', 'overlay'],
    timeoutMs: 5_000,
    onFailure: 'degrade',
    remedy: 'see what is there',
    run: () => ensureLink(link, target),
  }
}

/**
 * Replaces a link of any target and an empty folder; nothing else.
 *
 * @throws LinkError when a file, a mount or a folder with something in it is there.
 */
export async function ensureLink(link: string, target: string): Promise<string> {
  const found = await lstat(link).catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  })
  const remark = `${link} → ${target}`
  if (found?.isSymbolicLink() === true) {
    if ((await readlink(link)) === target) return remark
    await replaceLink(link, target)
    return remark
  }
  if (found !== undefined) await removeEmptyFolder(link, target)
  await symlink(target, link)
  return remark
}

/** By renaming, so that there is no moment without the name. */
async function replaceLink(link: string, target: string): Promise<void> {
  const temporary = `${link}.new`
  await unlink(temporary).catch(() => undefined)
  await symlink(target, temporary)
  await rename(temporary, link)
}

async function removeEmptyFolder(link: string, target: string): Promise<void> {
  try {
    await rmdir(link)
  } catch (error) {
    throw new LinkError(
      `cannot make ${link} a link to ${target}: something is there (${codeOf(error) ?? 'unknown'}) and was kept; mount it elsewhere, for example at ${target}`,
      { cause: error },
    )
  }
}
