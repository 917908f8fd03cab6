import { dirname, resolve } from 'node:path'
import * as v from 'valibot'
import type { AccessRule, Config, HeaderRule, SecretSource } from '../model/config.js'
import { findContradictions } from './contradictions.js'
import { shapeDocument } from './document-shape.js'
import { dataPaths, DEFAULT_DATA_DIR } from '../model/paths.js'
import { placeIn } from './places.js'
import { orderProblems, type Mark, type Problem } from '../yaml/problem.js'
import { fileSchema, type FileValues } from '../schema/file.js'
import { canonicalPattern } from '../schema/values.js'
import { issueComplaints, shapeComplaints } from './schema-complaints.js'
import { secretComplaints } from './secret-complaints.js'
import { endComplaints, silenceComplaints } from './silence.js'
import { readYaml, type KeyPath, type YamlDocument } from '../yaml/yaml-document.js'

export type LayerName = 'operator' | 'workspace' | 'default'

/** Where the value in force was written. */
export interface Origin extends Mark {
  readonly layer: LayerName
  readonly file: string
}

export type SectionName = Exclude<keyof Config, 'headers' | 'rules' | 'secrets'>

export type LayerSections = { readonly [S in SectionName]?: Partial<Config[S]> }

/** What one file says; what it does not say is absent. Paths are absolute, host patterns canonical. */
export interface LayerValues extends LayerSections {
  readonly headers?: Readonly<Record<string, Partial<HeaderRule>>>
  readonly rules?: readonly AccessRule[]
  readonly secrets?: Readonly<Record<string, Partial<SecretSource>>>
  readonly locks?: readonly string[]
  readonly end_marker?: true
}

export interface Layer {
  readonly values: LayerValues
  /** Where a value is written; several places for a list put together from several files. */
  originsOf(path: KeyPath): readonly Origin[]
}

export type LayerResult =
  | { readonly kind: 'layer'; readonly layer: Layer }
  | { readonly kind: 'problems'; readonly problems: readonly Problem[] }

type LayerSource = {
  readonly name: LayerName
  /** Path of the file, for messages and relative paths. */
  readonly file: string
  /** Absolute. */
  readonly dataDir: string
} & ({ readonly text: string } | { readonly document: YamlDocument })

/** Reads one file's text. Whatever is wrong with it is told at once, and then nothing of it is used. */
export function readLayer(source: LayerSource): LayerResult {
  const document = 'document' in source ? source.document : readYaml(source.text)
  const [syntax] = document.problems.filter((problem) => problem.kind === 'syntax')
  if (syntax !== undefined) {
    const { mark, message } = syntax
    return { kind: 'problems', problems: [{ kind: 'unreadable', file: source.file, mark, message }] }
  }
  const shaped = shapeDocument(document.value)
  const parsed = v.safeParse(fileSchema, shaped.value)
  const complaints = [
    ...document.problems,
    ...shapeComplaints(shaped, document),
    // A workspace's file only adds to the operator's, so that what it leaves out opens nothing.
    ...(source.name === 'workspace' ? [] : silenceComplaints(shaped.value, document)),
    ...endComplaints(document),
    ...(parsed.success
      ? [
          ...findContradictions(parsed.output, document),
          // A workspace may have neither secrets nor references: each is refused by itself, with that reason.
          ...(source.name === 'workspace' ? [] : secretComplaints(parsed.output, document)),
        ]
      : issueComplaints(parsed.issues, document)),
  ]
  if (!parsed.success || complaints.length > 0) {
    const problems = complaints.map((complaint): Problem => ({
      kind: 'invalid',
      file: source.file,
      ...complaint,
    }))
    return { kind: 'problems', problems: orderProblems(problems) }
  }
  return { kind: 'layer', layer: layerOf(parsed.output, document, source) }
}

function layerOf(values: FileValues, document: YamlDocument, source: LayerSource): Layer {
  const writtenPattern = new Map(Object.keys(values.headers ?? {}).map((key) => [canonicalPattern(key), key]))
  const { tls, cache, logging, headers, secrets } = values
  const absolute = (path: string): string => resolve(dirname(source.file), path)
  const shipped = dataPaths(DEFAULT_DATA_DIR)
  const placed = dataPaths(source.dataDir)
  return {
    values: {
      ...values,
      ...(tls && {
        tls: {
          ...tls,
          ...(tls.cert_dir !== undefined && {
            cert_dir: tls.cert_dir === shipped.certDir ? placed.certDir : absolute(tls.cert_dir),
          }),
          ...(tls.upstream_ca && { upstream_ca: tls.upstream_ca.map(absolute) }),
        },
      }),
      ...(cache && {
        cache: {
          ...cache,
          ...(cache.dir !== undefined && {
            dir: cache.dir === shipped.cacheDir ? placed.cacheDir : absolute(cache.dir),
          }),
        },
      }),
      ...(logging && {
        logging: {
          ...logging,
          ...(logging.file !== undefined && { file: logging.file && absolute(logging.file) }),
        },
      }),
      ...(secrets && {
        secrets: Object.fromEntries(
          Object.entries(secrets).map(([name, { file, ...secret }]) => [
            name,
            { ...secret, ...(file !== undefined && { file: absolute(file) }) },
          ]),
        ),
      }),
      ...(headers && {
        headers: Object.fromEntries(
          Object.entries(headers).map(([key, rule]) => [canonicalPattern(key), rule]),
        ),
      }),
    },
    originsOf([section, key, ...rest]) {
      const written = section === 'headers' ? (writtenPattern.get(String(key)) ?? key) : key
      const path = [section, written, ...rest].filter((part) => part !== undefined)
      return [{ layer: source.name, file: source.file, ...placeIn(document, path) }]
    },
  }
}
