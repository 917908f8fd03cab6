import type { Config } from '../../config/model/config.js'
import { MAX_CONFIG_BYTES } from '../../config/layers/config-texts.js'
import { readTextFile } from '../../base/files/text-file.js'
import type { Environment } from './environment.js'
import { SECRET_PREFIX } from './options.js'

/** The variables that a configuration takes secrets from. */
export function secretVariables({ secrets }: Config): readonly string[] {
  return Object.values(secrets).flatMap(({ env }) => (env === undefined ? [] : [env]))
}

/**
 * The variables of `inherited` whose names stand anywhere in the operator's file, comments included. For when
 * it is not known as a configuration, being broken or not asked for: what may be a secret counts as one.
 */
export async function variablesNamedIn(
  operatorFile: string | undefined,
  inherited: Environment,
): Promise<readonly string[]> {
  if (operatorFile === undefined) return []
  const read = await readTextFile(operatorFile, { maxBytes: MAX_CONFIG_BYTES })
  if (read.kind !== 'text') return []
  const words = new Set(read.text.match(/[A-Za-z_][A-Za-z0-9_]*/g))
  return Object.keys(inherited).filter((name) => words.has(name))
}

/** What the proxy gets of our environment so that it can resolve its secrets. */
export function onlySecrets(all: Environment, named: readonly string[]): Environment {
  return filtered(all, (name) => name.startsWith(SECRET_PREFIX) || named.includes(name))
}

/** The same where only some secrets are loaded: the variables of those. */
export function onlyNamed(all: Environment, named: readonly string[]): Environment {
  return filtered(all, (name) => named.includes(name))
}

/** What everybody else may get of `inherited`, which the agent's own secrets have been taken out of before. */
export function withoutSecrets(inherited: Environment, named: readonly string[]): Environment {
  return filtered(inherited, (name) => !named.includes(name))
}

function filtered(environment: Environment, keeps: (name: string) => boolean): Environment {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => keeps(name)))
}
