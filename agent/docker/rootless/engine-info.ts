import { request } from 'node:http'
import { DiscobotError } from '../../../base/errors.js'
import type { Choice } from '../choice.js'

/** The engine came up, and does not say what it is. */
class EngineInfoError extends DiscobotError {
  readonly code = 'DOCKER_INFO_UNUSABLE'
}

const INFO_MS = 5_000
/** It is a few KiB; a container of an earlier life may have the engine's power, and send more. */
const MAX_INFO_BYTES = 1024 * 1024

/** Asks a running engine for the choices that only it could make, in its own namespaces. */
export async function chosenByEngine(socketPath: string, signal: AbortSignal): Promise<readonly Choice[]> {
  const info = await ask(socketPath, AbortSignal.any([signal, AbortSignal.timeout(INFO_MS)]))
  const driver = String(info['Driver'])
  const cgroups = String(info['CgroupDriver'])
  return [
    {
      flags: [],
      told: `storage ${driver}`,
      ...(driver === 'vfs'
        ? {
            limit:
              'storage driver vfs copies every image whole for each container; put DISCOBOT_DATA_DIR on a volume, or have fuse-overlayfs and /dev/fuse in the container',
          }
        : {}),
    },
    // Nobody can mend it in here, so it is said and not complained of.
    { flags: [], told: cgroups === 'none' ? 'limits of containers do not apply' : `cgroups ${cgroups}` },
  ]
}

/** @throws EngineInfoError */
async function ask(socketPath: string, signal: AbortSignal): Promise<Readonly<Record<string, unknown>>> {
  const answer = await new Promise<string>((resolve, reject) => {
    const asked = request({ socketPath, path: '/info', signal, headers: { Host: 'docker' } }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk
        if (text.length > MAX_INFO_BYTES) response.destroy(new Error('its answer has no end'))
      })
      response.once('end', () => resolve(text))
      response.once('error', reject)
    })
    asked.once('error', reject)
    asked.end()
  })
  try {
    const parsed: unknown = JSON.parse(answer)
    if (typeof parsed === 'object' && parsed !== null) return { ...parsed }
    throw new Error('it is no object')
  } catch (error) {
    throw new EngineInfoError('cannot read what dockerd says of itself; see the log of the service dockerd', {
      cause: error,
    })
  }
}
