import { basename, dirname, join } from 'node:path'
import { codeOf, DiscobotError } from '../../../base/errors.js'
import { inFolder, type HeldFolder } from '../../system/held-folder.js'
import type { BootStep } from '../../status/step.js'

/** Something of the operator's is where the link belongs. */
class LinkError extends DiscobotError {
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
  inFolder(dirname(link), (folder) => {
    const name = basename(link)
    const present = folder.linkAt(name)
    if (present === target) return
    if (present !== undefined) return replaceLink(folder, name, target)
    if (folder.find(name) !== undefined) removeEmptyFolder(folder, name, target)
    folder.link(target, name)
  })
  return `${link} → ${target}`
}

/** By renaming, so that there is no moment without the name. */
function replaceLink(folder: HeldFolder, name: string, target: string): void {
  const temporary = `${name}.new`
  if (folder.find(temporary) !== undefined) folder.unlink(temporary)
  folder.link(target, temporary)
  folder.rename(temporary, name)
}

function removeEmptyFolder(folder: HeldFolder, name: string, target: string): void {
  try {
    folder.rmdir(name)
  } catch (error) {
    throw new LinkError(
      `cannot make ${join(folder.path, name)} a link to ${target}: something is there (${codeOf(error) ?? 'unknown'}) and was kept; mount it elsewhere, for example at ${target}`,
      { cause: error },
    )
  }
}
