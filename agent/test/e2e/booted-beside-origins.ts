import type { Test } from 'tap'
import type { AgentStatus } from '../../status/status.js'
import { bootContainer, type Booted } from '../../../test/lab/booted.js'
import type { IsolatedSettings } from '../../../test/lab/isolated.js'
import { makeOriginCertificates } from '../../../test/lab/origins/origin-certificates.js'
import {
  makeOriginSite,
  ORIGIN_HOSTS,
  startOrigins,
  type OriginSite,
} from '../../../test/lab/origins/origin-site.js'

/** A container that came up, beside servers that only its proxy trusts. */
interface BesideOrigins extends Booted {
  readonly site: OriginSite
  /** Requests the servers have seen: name, method, path and `Via`. */
  seen(): readonly string[]
}

/** @param more lines added to the operator's file. */
export async function bootBesideOrigins(
  t: Test,
  settings: IsolatedSettings = {},
  more = '',
): Promise<BesideOrigins> {
  const certificates = await makeOriginCertificates(t, ORIGIN_HOSTS, more)
  const site = makeOriginSite(t)
  const readOnly = [site.folder, ...(settings.readOnly ?? [])]
  const booted = await bootContainer(t, certificates, { ...settings, readOnly })
  const seen = await startOrigins(booted.container, site, certificates)
  return { ...booted, site, seen }
}

/** Everything runs, and the proxy does its work. */
export async function allIsWell(t: Test, { tryShell, status }: Booted): Promise<AgentStatus> {
  t.match(await tryShell('curl -sS https://web.test/well'), {
    stdout: 'you asked for /well by way of 2.0 discobot\n',
    code: 0,
  })
  const now = await status()
  t.equal(now.phase, 'running')
  t.match(now.services, [
    { name: 'proxy', state: 'ready', restarts: 0 },
    { name: 'agent-api', state: 'ready', restarts: 0 },
  ])
  return now
}
