import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { CacheRequest, FetchUpstream } from '../contract/contract.js'
import type { EntryKey } from './key.js'

/** What an entry took to be fetched, and what a request brings along for it. */
export interface Access {
  /** What credentials are for: a repository, or where there is none, one path of a host. */
  readonly scope: string
  /** Sha256 of the credentials, hex; undefined where there are none. */
  readonly token: string | undefined
}

/** As long as registries' own tokens live at least (distribution, "Token Authentication": 60 s; Docker Hub: 300 s). */
const VERDICT_MS = 5 * 60_000
/** Some 3 MB. */
const MAX_VERDICTS = 10_000

/** A query that does not tell entries apart is there to be signed, so it counts as a credential. */
export function accessOf(
  request: CacheRequest,
  { omitsQuery, repository }: Pick<EntryKey, 'omitsQuery' | 'repository'>,
): Access {
  const signature = repository === undefined && omitsQuery ? request.query : ''
  const authorization = request.header('authorization') ?? ''
  const cookie = request.header('cookie') ?? ''
  const none = authorization === '' && cookie === '' && signature === ''
  return {
    scope: `${request.authority}${repository ?? request.path}`,
    token: none ? undefined : hash('sha256', `${authorization}\n${cookie}\n${signature}`),
  }
}

/** Who has been found to be allowed what. Nothing of it is written anywhere. */
export class AccessVerdicts {
  readonly #now: () => number
  readonly #verdicts = new LRUCache<string, { readonly allowed: boolean; readonly until: number }>({
    max: MAX_VERDICTS,
  })
  readonly #asking = new Map<string, Promise<boolean>>()

  /** @param now milliseconds since 1970. */
  constructor(now: () => number) {
    this.#now = now
  }

  /** Upstream gave a body to these credentials. */
  grant({ scope, token }: Access): void {
    if (token !== undefined) this.#keep(`${scope}\n${token}`, true)
  }

  /** What is known already of whether a request may have an entry. */
  known(scope: string, request: CacheRequest, access: Access): boolean | undefined {
    const known = this.#verdicts.get(verdictName(scope, request, access))
    return known !== undefined && this.#now() < known.until ? known.allowed : undefined
  }

  /**
   * Whether a request may have an entry; asks upstream by HEAD with the request's own credentials unless that is
   * known. Without an answer, it may not.
   *
   * @param scope the one whose credentials the entry was fetched with.
   * @param fetchUpstream absent where upstream may not be asked.
   */
  async allows(
    scope: string,
    request: CacheRequest,
    access: Access,
    fetchUpstream: FetchUpstream | undefined,
  ): Promise<boolean> {
    const known = this.known(scope, request, access)
    if (known !== undefined) return known
    const name = verdictName(scope, request, access)
    if (fetchUpstream === undefined) return false
    const asking = this.#asking.get(name) ?? this.#ask(name, fetchUpstream)
    return asking
  }

  #ask(name: string, fetchUpstream: FetchUpstream): Promise<boolean> {
    const asking = this.#head(name, fetchUpstream).finally(() => this.#asking.delete(name))
    this.#asking.set(name, asking)
    return asking
  }

  async #head(name: string, fetchUpstream: FetchUpstream): Promise<boolean> {
    try {
      const { status, body } = await fetchUpstream(new AbortController().signal, { method: 'HEAD' })
      body.on('error', () => undefined).resume()
      // Registries send only those on to their storage whom they let in.
      const allowed = status >= 200 && status < 400
      // Of anything else (404, 429, 500) the next answer may be another.
      if (allowed || status === 401 || status === 403) this.#keep(name, allowed)
      return allowed
    } catch {
      return false
    }
  }

  #keep(name: string, allowed: boolean): void {
    this.#verdicts.set(name, { allowed, until: this.#now() + VERDICT_MS })
  }
}

function verdictName(scope: string, request: CacheRequest, access: Access): string {
  // Who may read one repository has not shown to have what came from another: then one path is asked about.
  const place = access.scope === scope ? scope : `${access.scope}\n${request.path}`
  return `${place}\n${access.token ?? ''}`
}
