import { isLoopbackHost } from '../net/loopback.js'
import { parseTarget, TargetError, type Target } from '../net/target.js'
import { WarmReferenceError } from './errors.js'

/** Where an image is, as `docker pull` reads it. */
export interface ImageReference {
  readonly registry: Target
  /** Registries of this machine are asked over plain HTTP, as Docker does. */
  readonly scheme: 'http' | 'https'
  readonly repository: string
  /** A tag, or `sha256:…`. */
  readonly reference: string
}

/** `docker.io` is a name for people; this is the registry behind it. */
const DOCKER_HUB = 'registry-1.docker.io'

/** The grammar of distribution's `reference` package. */
const REPOSITORY = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/
const TAG = /^\w[\w.-]{0,127}$/
const DIGEST = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/
const MAX_REPOSITORY_LENGTH = 255

/**
 * `[REGISTRY/]NAME[:TAG][@DIGEST]`; without a registry Docker Hub, without tag and digest `latest`, and a digest
 * counts before a tag.
 *
 * @throws WarmReferenceError
 */
export function parseImageReference(text: string): ImageReference {
  const [named = '', digest, ...more] = text.split('@')
  if (more.length > 0 || (digest !== undefined && !DIGEST.test(digest))) {
    throw invalid(text, 'what follows "@" is no digest; write sha256: and 64 small hex digits')
  }
  const slash = named.indexOf('/')
  const first = slash === -1 ? '' : named.slice(0, slash)
  const hasRegistry = first === 'localhost' || /[.:[]/.test(first)
  const path = hasRegistry ? named.slice(slash + 1) : named
  const colon = path.lastIndexOf(':')
  const name = colon === -1 ? path : path.slice(0, colon)
  const tag = colon === -1 ? undefined : path.slice(colon + 1)
  if (tag !== undefined && !TAG.test(tag)) throw invalid(text, `${JSON.stringify(tag)} is no tag`)

  const isHub = !hasRegistry || first === 'docker.io' || first === 'index.docker.io'
  const repository = isHub && !name.includes('/') ? `library/${name}` : name
  if (!REPOSITORY.test(repository) || repository.length > MAX_REPOSITORY_LENGTH) {
    throw invalid(
      text,
      `${JSON.stringify(name)} is no name of an image; it has small letters, digits, ".", "_", "-" and "/"`,
    )
  }
  const host = isHub ? DOCKER_HUB : first
  const scheme = isLoopbackHost(targetOf(text, host, 443).host) ? 'http' : 'https'
  return {
    registry: targetOf(text, host, scheme === 'http' ? 80 : 443),
    scheme,
    repository,
    reference: digest ?? tag ?? 'latest',
  }
}

function targetOf(text: string, host: string, port: number): Target {
  try {
    return parseTarget(host, port)
  } catch (error) {
    if (error instanceof TargetError) throw invalid(text, error.message)
    throw error
  }
}

function invalid(text: string, why: string): WarmReferenceError {
  return new WarmReferenceError(`cannot use ${JSON.stringify(text.slice(0, 300))} as an image: ${why}`)
}
