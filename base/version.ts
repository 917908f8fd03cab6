import { readFileSync } from 'node:fs'

/** Put in by the bundler, whose output has no package.json beside it. */
declare const DISCOBOT_VERSION: string | undefined

/** Of the package these modules belong to. */
export function readVersion(moduleUrl: string): string {
  if (typeof DISCOBOT_VERSION === 'string') return DISCOBOT_VERSION
  for (const up of ['../package.json', '../../package.json', '../../../package.json']) {
    try {
      const manifest: unknown = JSON.parse(readFileSync(new URL(up, moduleUrl), 'utf8'))
      if (typeof manifest === 'object' && manifest !== null && 'version' in manifest)
        return String(manifest.version)
    } catch {
      continue
    }
  }
  return 'unknown'
}
