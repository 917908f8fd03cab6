import { inspect } from 'node:util'
import type { Config, SecretSource } from '../../config/model/config.js'
import { DiscobotError } from '../../base/errors.js'
import { headerValueComplaint } from '../../config/model/header-field.js'
import { compileHostPatterns, type HostMatcher } from '../../base/net/host-pattern.js'
import { readTextFile } from '../../base/files/text-file.js'
import type { RawHeaders } from '../message/headers.js'

/** A request's headers may have 64 KiB in all, ours and most servers'; a longer secret could not be sent. */
const MAX_SECRET_BYTES = 32 * 1024

/** A secret has no value that could be sent. */
export class SecretsError extends DiscobotError {
  override readonly code = 'SECRETS_UNRESOLVED'
  /** The name of the first of them. */
  readonly first: string

  /** @param problems name → what is wrong. */
  constructor(problems: readonly (readonly [name: string, problem: string])[]) {
    super(`cannot use the secrets: ${problems.map((problem) => problem.join(': ')).join('; ')}`)
    this.first = problems[0]?.[0] ?? ''
  }
}

/** A secret is not loaded, though it could be, because others could read it here. Answered with 403. */
export class SecretWithheldError extends DiscobotError {
  override readonly code = 'SECRET_WITHHELD'
}

/** Secrets that are not loaded, and why. */
export interface WithheldSecrets {
  readonly names: readonly string[]
  readonly reason: string
}

interface Secret {
  /** Not a string: those are what a heap snapshot shows, the bytes of a buffer it does not. */
  readonly bytes: Buffer
  readonly hosts: HostMatcher<string>
  readonly placeholder?: { readonly value: string; readonly headers: ReadonlySet<string> }
}

/**
 * The resolved secrets, and the only place that holds them. Nothing that prints or serialises an object shows
 * them; whoever is given one got it for a host to which it may go.
 */
export class Secrets {
  readonly #secrets: ReadonlyMap<string, Secret>
  readonly #withheld: ReadonlyMap<string, Omit<Secret, 'bytes'>>
  readonly #reason: string

  /**
   * @param withheld those that are not loaded.
   * @param reason why they are not.
   */
  constructor(
    secrets: ReadonlyMap<string, Secret>,
    withheld: ReadonlyMap<string, Omit<Secret, 'bytes'>> = new Map(),
    reason = '',
  ) {
    this.#secrets = secrets
    this.#withheld = withheld
    this.#reason = reason
  }

  /** Undefined where all are loaded. */
  get withheld(): WithheldSecrets | undefined {
    return this.#withheld.size === 0 ? undefined : { names: [...this.#withheld.keys()], reason: this.#reason }
  }

  /** @throws SecretWithheldError */
  assertLoaded(name: string): void {
    if (!this.#withheld.has(name)) return
    throw new SecretWithheldError(`cannot use the secret ${name}: it is withheld, since ${this.#reason}`)
  }

  /**
   * The value of `name`, to be sent to `host` and not kept.
   *
   * @throws SecretWithheldError, or Error when it may not go there: the loader has refused such a rule, so this is a
   *   defect of ours.
   */
  reveal(name: string, host: string): string {
    this.assertLoaded(name)
    const secret = this.#secrets.get(name)
    if (secret?.hosts.matchesAny(host) !== true) throw new Error(`secret ${name} may not go to ${host}`)
    return secret.bytes.toString('latin1')
  }

  /**
   * The value of `name`, to be compared with what a client shows, and sent nowhere.
   *
   * @throws SecretWithheldError, or Error when there is none: the loader has refused such a configuration.
   */
  compare(name: string): string {
    this.assertLoaded(name)
    const secret = this.#secrets.get(name)
    if (secret === undefined) throw new Error(`there is no secret ${name}`)
    return secret.bytes.toString('latin1')
  }

  /**
   * The headers with every placeholder of a secret that may go to `host` swapped for the secret: as the whole
   * value, behind a scheme (`Bearer X`), or as a part of Basic credentials.
   *
   * @throws SecretWithheldError when one of them stands for a secret that is not loaded.
   */
  swapPlaceholders(host: string, headers: RawHeaders): RawHeaders {
    for (const [name, { placeholder, hosts }] of this.#withheld) {
      if (placeholder === undefined || !hosts.matchesAny(host)) continue
      if (swappedIn(headers, placeholder, NOTHING) !== headers) this.assertLoaded(name)
    }
    let result: RawHeaders = headers
    for (const { placeholder, hosts, bytes } of this.#secrets.values()) {
      if (placeholder === undefined || !hosts.matchesAny(host)) continue
      result = swappedIn(result, placeholder, bytes)
    }
    return result
  }

  /** Whether the headers hold a placeholder that would be swapped if they went to `host` over TLS. */
  findsPlaceholder(host: string, headers: RawHeaders): boolean {
    const all = [...this.#secrets.values(), ...this.#withheld.values()]
    return all.some(
      ({ placeholder, hosts }) =>
        placeholder !== undefined &&
        hosts.matchesAny(host) &&
        swappedIn(headers, placeholder, NOTHING) !== headers,
    )
  }

  toString(): string {
    return '[secrets]'
  }

  toJSON(): string {
    return '[secrets]'
  }

  [inspect.custom](): string {
    return '[secrets]'
  }
}

/**
 * Reads every secret of the configuration from where it says.
 *
 * @param reason why none is to be loaded that does not say `trust_docker: true`; undefined where all are.
 * @throws SecretsError naming all those that cannot be had; never a value.
 */
export async function resolveSecrets(
  sources: Config['secrets'],
  env: Readonly<Record<string, string | undefined>>,
  reason?: string,
): Promise<Secrets> {
  const secrets = new Map<string, Secret>()
  const withheld = new Map<string, Omit<Secret, 'bytes'>>()
  const problems: [name: string, problem: string][] = []
  for (const [name, source] of Object.entries(sources)) {
    if (reason !== undefined && source.trust_docker !== true) {
      withheld.set(name, compile(source))
      continue
    }
    const found = await read(name, source, env)
    const problem = found.kind === 'problem' ? found.problem : complaintAbout(found.value)
    if (problem !== undefined) problems.push([name, problem])
    else if (found.kind === 'value') secrets.set(name, { ...compile(source), bytes: bytesOf(found.value) })
  }
  if (problems.length > 0) throw new SecretsError(problems)
  return new Secrets(secrets, withheld, reason)
}

type Found =
  { readonly kind: 'value'; readonly value: string } | { readonly kind: 'problem'; readonly problem: string }

async function read(
  name: string,
  source: SecretSource,
  env: Readonly<Record<string, string | undefined>>,
): Promise<Found> {
  const { file } = source
  if (file === undefined) {
    const value = source.env === undefined ? undefined : env[source.env]
    if (value !== undefined && value !== '') return { kind: 'value', value }
    // Another name than its own is not quoted: people write the secret itself there.
    const variable =
      source.env === name ? `the variable ${name}` : `the variable that secrets.${name}.env names`
    return { kind: 'problem', problem: `${variable} is not set in the proxy's environment` }
  }
  const text = await readTextFile(file, { maxBytes: MAX_SECRET_BYTES, private: true })
  if (text.kind === 'text') return { kind: 'value', value: text.text.replace(/\r?\n$/, '') }
  const reason = text.kind === 'absent' ? 'it does not exist' : text.reason
  return { kind: 'problem', problem: `the file ${file} cannot be used: ${reason}` }
}

function complaintAbout(value: string): string | undefined {
  const complaint =
    value === '' ? 'is empty' : value.length > MAX_SECRET_BYTES ? 'is too long' : headerValueComplaint(value)
  return complaint === undefined ? undefined : `its value ${complaint}`
}

function bytesOf(value: string): Buffer {
  // Of its own, not a slice of the pool that all small buffers share.
  const bytes = Buffer.allocUnsafeSlow(value.length)
  bytes.write(value, 'latin1')
  return bytes
}

function compile(source: SecretSource): Omit<Secret, 'bytes'> {
  return {
    hosts: compileHostPatterns(source.hosts.map((pattern) => [pattern, pattern] as const)),
    ...(source.placeholder !== undefined && {
      placeholder: {
        value: source.placeholder,
        headers: new Set(source.placeholder_headers?.map((name) => name.toLowerCase())),
      },
    }),
  }
}

/** RFC 9110, 11.4: a scheme, blanks, and credentials of one word. */
const CREDENTIALS = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+ +)(\S+)$/

/** What is looked for, not replaced. */
const NOTHING = Buffer.alloc(0)

/** The same array where the placeholder is not in it. */
function swappedIn(
  headers: RawHeaders,
  placeholder: { readonly value: string; readonly headers: ReadonlySet<string> },
  bytes: Buffer,
): RawHeaders {
  let isFound = false
  const result = headers.map((item, index) => {
    const name = index % 2 === 0 ? undefined : headers[index - 1]?.toLowerCase()
    if (name === undefined || !placeholder.headers.has(name)) return item
    const value = swapped(item, placeholder.value, bytes)
    isFound ||= value !== item
    return value
  })
  return isFound ? result : headers
}

function swapped(value: string, placeholder: string, bytes: Buffer): string {
  if (value === placeholder) return bytes.toString('latin1')
  const [, scheme = '', credentials] = CREDENTIALS.exec(value) ?? []
  if (credentials === placeholder) return scheme + bytes.toString('latin1')
  if (credentials === undefined || scheme.trim().toLowerCase() !== 'basic') return value
  return swappedBasic(credentials, placeholder, bytes.toString('latin1')) ?? value
}

/** RFC 7617, 2: base64 of `user:password`; some services take a key as the user. */
function swappedBasic(credentials: string, placeholder: string, secret: string): string | undefined {
  const decoded = Buffer.from(credentials, 'base64').toString('latin1')
  const colon = decoded.indexOf(':')
  const [user, password] = [decoded.slice(0, colon), decoded.slice(colon + 1)]
  if (colon === -1 || (user !== placeholder && password !== placeholder)) return undefined
  // A user with a colon would be read as a shorter one with another password.
  if (user === placeholder && secret.includes(':')) return undefined
  const parts = [user, password].map((part) => (part === placeholder ? secret : part))
  return `Basic ${Buffer.from(parts.join(':'), 'latin1').toString('base64')}`
}
