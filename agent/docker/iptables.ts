import { lstat, mkdir, rm, symlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { reasonOf } from '../../base/errors.js'
import { findOnPath } from '../settings/programs.js'
import { CommandError, type CommandOptions, type RunCommand } from '../system/command.js'
import type { Choice } from './choice.js'
import type { DaemonSettings } from './daemon-settings.js'

interface IptablesOptions {
  readonly settings: DaemonSettings
  /** Where dockerd is made to find the ones that work. */
  readonly folder: string
  readonly run: RunCommand
  readonly command: CommandOptions
}

/** The image's own choice, then each flavour by its name. */
const FLAVOURS = ['iptables', 'iptables-nft', 'iptables-legacy']
/** What dockerd and its plugins call: `iptables` and `ip6tables`, each with these. */
const ACTIONS = ['', '-save', '-restore']

/**
 * A rule as dockerd's first one, in a chain of our own. That it can be listed says little: the modules behind
 * `addrtype` and `MASQUERADE` are looked for when a rule uses them.
 */
const TRIAL = `
"$0" -w 5 -t nat -F DISCOBOT-TRIAL 2>/dev/null; "$0" -w 5 -t nat -X DISCOBOT-TRIAL 2>/dev/null
"$0" -w 5 -t nat -N DISCOBOT-TRIAL && "$0" -w 5 -t nat -A DISCOBOT-TRIAL -m addrtype --dst-type LOCAL -j MASQUERADE
works=$?
"$0" -w 5 -t nat -F DISCOBOT-TRIAL && "$0" -w 5 -t nat -X DISCOBOT-TRIAL
[ $works = 0 ] && "$0" --version`

/** The kernel may know only one of the two flavours of rules, and the image may have chosen the other. */
export async function chooseIptables(options: IptablesOptions): Promise<Choice> {
  const { settings, folder, command } = options
  const set = settings.value('iptables')
  if (set !== undefined) return { flags: [], told: `iptables ${set}, as set` }
  await rm(folder, { recursive: true, force: true })
  const reasons: string[] = []
  for (const flavour of FLAVOURS) {
    const program = findOnPath(flavour, command.env['PATH'] ?? '')
    if (program === undefined) continue
    const tried = await trial(program, options)
    if (!tried.works) {
      reasons.push(`${flavour}: ${tried.reason}`)
      continue
    }
    const told = tried.legacy ? 'iptables legacy' : 'iptables nft'
    if (flavour === 'iptables') return { flags: [], told }
    await linkFlavour(program, flavour, folder)
    return { flags: [], told: `${told}, since the image's own does not work`, path: folder }
  }
  const why = reasons.length === 0 ? 'iptables is not installed' : reasons.join('; ')
  return {
    flags: [['iptables', 'false']],
    told: 'no iptables',
    limit: `containers reach no network beyond this one (${why}); install iptables, or load the modules it needs on the machine`,
  }
}

type Tried =
  { readonly works: true; readonly legacy: boolean } | { readonly works: false; readonly reason: string }

async function trial(program: string, { run, command }: IptablesOptions): Promise<Tried> {
  try {
    const version = await run(['sh', '-c', TRIAL, program], command)
    return { works: true, legacy: !version.includes('nf_tables') }
  } catch (error) {
    command.signal.throwIfAborted()
    const line = error instanceof CommandError ? error.stderr.trim().split('\n')[0] : undefined
    return { works: false, reason: line === undefined || line === '' ? reasonOf(error) : line.slice(0, 200) }
  }
}

/** Under the plain names, as docker's own image for Docker in Docker does it. */
async function linkFlavour(program: string, flavour: string, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true })
  const suffix = flavour.slice('iptables'.length)
  for (const family of ['iptables', 'ip6tables']) {
    for (const action of ACTIONS) {
      const target = join(dirname(program), `${family}${suffix}${action}`)
      if ((await lstat(target).catch(() => undefined)) === undefined) continue
      await symlink(target, join(folder, `${family}${action}`))
    }
  }
}
