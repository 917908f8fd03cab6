import { randomBytes } from 'node:crypto'
import { reasonOf } from '../../base/errors.js'
import { parseImageReference, type ImageReference } from '../../base/oci/image-reference.js'
import type { Descriptor, Platform } from '../../base/oci/manifest.js'
import { choosePlatform, formatPlatform } from '../../base/oci/platform.js'
import { drain, RegistryClient } from '../../base/oci/registry-client.js'
import { shown, type Kept, type ThroughProxy } from '../../base/oci/through-proxy.js'
import { WarmFetchError, WarmReferenceError } from '../../base/oci/errors.js'

/** As many of an image's layers at once as Docker itself fetches. */
const PARALLEL_LAYERS = 3
/** Of one job; more are more jobs. */
export const MAX_REFERENCES = 100

export type ItemState = 'waiting' | 'fetching' | Kept | 'skipped' | 'failed'

/** One thing that is fetched. */
export interface ItemReport {
  readonly kind: 'index' | 'manifest' | 'config' | 'layer' | 'file'
  /** A digest, or a URL without its query. */
  readonly name: string
  readonly state: ItemState
  /** Bytes; absent while they are not known. */
  readonly size?: number
  readonly received: number
}

export interface ReferenceReport {
  /** As it was asked for, a URL without its query. */
  readonly reference: string
  readonly state: 'waiting' | 'fetching' | 'done' | 'failed'
  readonly platform?: string
  readonly problem?: string
  readonly items: readonly ItemReport[]
}

export interface JobReport {
  readonly id: string
  readonly state: 'running' | 'done' | 'failed' | 'cancelled'
  readonly references: readonly ReferenceReport[]
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] }
type Item = Mutable<ItemReport>
type Work = Mutable<Omit<ReferenceReport, 'items'>> & { items: Item[] }

/** An image, or anything that one URL fetches. */
export type WarmReference =
  | { readonly kind: 'image'; readonly text: string; readonly image: ImageReference }
  | { readonly kind: 'url'; readonly text: string; readonly url: URL }

/** @throws WarmReferenceError */
export function parseWarmReference(text: string): WarmReference {
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) return { kind: 'image', text, image: parseImageReference(text) }
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    throw new WarmReferenceError(
      `cannot use ${JSON.stringify(text.slice(0, 300))}: write an image, or an http or https URL`,
    )
  }
  if (url.username !== '' || url.password !== '') {
    throw new WarmReferenceError(
      `cannot use ${shown(url)}: credentials do not belong in a URL; give them by a rule under "headers" of the configuration`,
    )
  }
  url.hash = ''
  return { kind: 'url', text: shown(url), url }
}

/** Fetches images and URLs through the proxy, so that its cache has them. One reference after the other. */
export class PrewarmJob {
  readonly id = randomBytes(6).toString('hex')
  readonly #through: ThroughProxy
  readonly #platform: Platform
  readonly #cancel = new AbortController()
  readonly #works: readonly { readonly reference: WarmReference; readonly work: Work }[]
  #state: JobReport['state'] = 'running'
  /** Resolves when the job has ended, however. Never rejects. */
  readonly ended: Promise<void>

  constructor(through: ThroughProxy, references: readonly WarmReference[], platform: Platform) {
    this.#through = through
    this.#platform = platform
    this.#works = references.map((reference) => ({
      reference,
      work: { reference: reference.text, state: 'waiting', items: [] },
    }))
    this.ended = this.#run()
  }

  get state(): JobReport['state'] {
    return this.#state
  }

  /** What has come so far; a copy. */
  report(): JobReport {
    return {
      id: this.id,
      state: this.#state,
      references: this.#works.map(({ work }) => ({
        ...work,
        items: work.items.map((item) => ({ ...item })),
      })),
    }
  }

  /** Ends the transfers; what came whole stays in the cache. */
  cancel(): void {
    if (this.#state !== 'running') return
    this.#state = 'cancelled'
    this.#cancel.abort()
  }

  async #run(): Promise<void> {
    // So that the maker has the job before anything of it happens.
    await Promise.resolve()
    for (const { reference, work } of this.#works) {
      if (this.#cancel.signal.aborted) break
      work.state = 'fetching'
      try {
        if (reference.kind === 'image') await this.#fetchImage(reference.image, work)
        else await this.#fetchUrl(reference.url, work)
        work.state = 'done'
      } catch (error) {
        work.state = 'failed'
        work.problem = reasonOf(error)
      }
    }
    if (this.#state !== 'running') return
    this.#state = this.#works.every(({ work }) => work.state === 'done') ? 'done' : 'failed'
  }

  async #fetchUrl(url: URL, work: Work): Promise<void> {
    const item = addItem(work, { kind: 'file', name: shown(url) })
    await this.#fetch(item, async () => {
      const { message, kept } = await this.#through.get(url, {}, this.#cancel.signal)
      if (message.statusCode === 401) {
        message.resume()
        throw new WarmFetchError(
          `cannot fetch ${shown(url)}: 401; give credentials by a rule under "headers"`,
        )
      }
      const length = Number(message.headers['content-length'] ?? Number.NaN)
      if (Number.isSafeInteger(length)) item.size = length
      await drain(message, url, (count) => (item.received += count))
      item.size = item.received
      return kept
    })
  }

  async #fetchImage(image: ImageReference, work: Work): Promise<void> {
    const registry = new RegistryClient(this.#through, image)
    const top = await this.#fetchManifest(registry, image.reference, work)
    let { manifest } = top
    if (manifest.kind === 'index') {
      work.platform = formatPlatform(this.#platform)
      const { digest } = choosePlatform(manifest, this.#platform)
      manifest = (await this.#fetchManifest(registry, digest, work)).manifest
      if (manifest.kind === 'index')
        throw new WarmFetchError(`cannot use ${digest}: it is an index within an index`)
    }
    const layers = manifest.layers.map((layer) =>
      addBlob(work, 'layer', layer, layer.foreign ? 'skipped' : 'waiting'),
    )
    const blobs = [addBlob(work, 'config', manifest.config), ...layers].filter((item) => item !== undefined)
    await this.#fetchBlobs(registry, blobs)
  }

  /** By its digest too, where it was asked for by its tag: tags move, so only that is kept. */
  async #fetchManifest(
    registry: RegistryClient,
    reference: string,
    work: Work,
  ): ReturnType<RegistryClient['manifest']> {
    const byTag = reference.includes(':')
      ? undefined
      : await registry.manifest(reference, this.#cancel.signal)
    const digest = byTag?.digest ?? reference
    const item = addItem(work, { kind: 'manifest', name: digest })
    const found = await this.#fetch(item, () => registry.manifest(digest, this.#cancel.signal))
    if (found.manifest.kind === 'index') item.kind = 'index'
    item.size = item.received = found.size
    return found
  }

  async #fetchBlobs(registry: RegistryClient, items: readonly Item[]): Promise<void> {
    const queue = items.filter(({ state }) => state === 'waiting').values()
    const worker = async (): Promise<void> => {
      for (const item of queue) {
        await this.#fetch(item, () =>
          registry.blob(item.name, (count) => (item.received += count), this.#cancel.signal),
        )
        if (item.size !== item.received) {
          item.state = 'failed'
          throw new WarmFetchError(
            `${item.name} has ${item.received} bytes, its manifest says ${item.size ?? 0}`,
          )
        }
      }
    }
    const ended = await Promise.allSettled(Array.from({ length: PARALLEL_LAYERS }, worker))
    const failed = ended.find((result) => result.status === 'rejected')
    if (failed !== undefined) throw failed.reason
  }

  async #fetch<Found extends Kept | { readonly kept: Kept }>(
    item: Item,
    fetch: () => Promise<Found>,
  ): Promise<Found> {
    item.state = 'fetching'
    try {
      const found = await fetch()
      item.state = typeof found === 'string' ? found : found.kept
      return found
    } catch (error) {
      item.state = 'failed'
      throw error
    }
  }
}

function addItem(work: Work, item: Pick<ItemReport, 'kind' | 'name'>): Item {
  const added: Item = { ...item, state: 'waiting', received: 0 }
  work.items.push(added)
  return added
}

/** Undefined for a layer that is there already: images repeat empty ones. */
function addBlob(
  work: Work,
  kind: 'config' | 'layer',
  { digest, size }: Descriptor,
  state: ItemState = 'waiting',
): Item | undefined {
  if (work.items.some(({ name }) => name === digest)) return undefined
  const item = addItem(work, { kind, name: digest })
  item.size = size
  item.state = state
  return item
}
