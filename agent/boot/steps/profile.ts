import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { mkdir, stat } from '../../../base/files/files-at-once.js'
import { proxyEnvironment, shellExports, type ProxyAccess } from '../../settings/environment.js'
import { ensureFile, readIfPresent, writeFileAtomically } from '../../system/atomic-file.js'
import { proxyAccess, type BootFindings } from '../findings/findings.js'
import type { BootStep } from '../../status/step.js'

const SNIPPET = '/etc/profile.d/discobot-proxy.sh'
const PROFILE = '/etc/profile'
const BEGIN = '# >>> discobot proxy >>>'
const END = '# <<< discobot proxy <<<'

/** Sends login shells through the proxy, or, when it is not there, makes sure that none points at it. */
export function profileStep(root: string, findings: BootFindings): BootStep {
  return {
    name: 'profile',
    needs: ['wall', 'proxy', 'trust'],
    timeoutMs: 5_000,
    onFailure: 'degrade',
    remedy: 'see that /etc/profile.d can be written to; until then login shells do not use the proxy',
    run: async () => {
      const access = proxyAccess(findings)
      if (access !== undefined) return installProfile(root, access)
      await removeProfile(root)
      return { notDone: 'without the proxy' }
    },
  }
}

/** Into `/etc/profile.d`, or as a marked block into `/etc/profile` where login shells read nothing else. */
export async function installProfile(root: string, access: ProxyAccess): Promise<string> {
  const exports = shellExports(proxyEnvironment(access))
  const folder = await stat(join(root, '/etc/profile.d')).catch(() => undefined)
  if (folder?.isDirectory() === true) {
    const content = `# Written by Discobot at every start.\n${exports}`
    await ensureFile(join(root, SNIPPET), content, { mode: 0o644 })
    await rewriteBlock(root, '')
    return SNIPPET
  }
  await mkdir(join(root, '/etc'), { recursive: true })
  await rewriteBlock(root, `${BEGIN}\n${exports}${END}\n`)
  return PROFILE
}

export async function removeProfile(root: string): Promise<void> {
  await rm(join(root, SNIPPET), { force: true })
  await rewriteBlock(root, '')
}

/** The rest of the file is the image's and stays as it is, byte for byte. */
async function rewriteBlock(root: string, block: string): Promise<void> {
  const path = join(root, PROFILE)
  const present = await readIfPresent(path)
  const old = present ?? ''
  const from = old.indexOf(`${BEGIN}\n`)
  const to = old.indexOf(`${END}\n`, from)
  const without = from === -1 || to === -1 ? old : old.slice(0, from) + old.slice(to + END.length + 1)
  const separator = block === '' || without === '' || without.endsWith('\n') ? '' : '\n'
  const wanted = without + separator + block
  if (wanted === old) return
  const mode = present === undefined ? 0o644 : (await stat(path)).mode & 0o7777
  await writeFileAtomically(path, wanted, { mode })
}
