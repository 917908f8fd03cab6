import { createRequire } from 'node:module'

/** Takes 54 ms unbundled, and a warm start has nothing to parse. The bundler takes this for its own `require`. */
const require = createRequire(import.meta.url)

/** The `yaml` package, brought in when something is first to be read or written. */
export function yamlPackage(): typeof import('yaml') {
  return require('yaml') as typeof import('yaml')
}
