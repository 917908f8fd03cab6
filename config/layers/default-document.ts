import { readFileSync } from 'node:fs'
import { parseYaml } from '../yaml/yaml-document.js'
import { documentOf, type ParsedYaml, type YamlDocument } from '../yaml/parsed-yaml.js'

/** The text of the shipped `default.yaml`. */
export function readDefault(): string {
  return readFileSync(new URL('../default.yaml', import.meta.url), 'utf8')
}

/** The shipped `default.yaml`, read. The bundler puts in what `parseDefault` returns: parsing it takes 20 ms. */
export function readDefaultDocument(): YamlDocument {
  return documentOf(parseDefault())
}

/** @throws when the shipped file is not valid YAML, which its test would tell. */
export function parseDefault(): ParsedYaml {
  return parseYaml(readDefault())
}
