import { execFileSync } from 'node:child_process'
import { createHash, randomFillSync } from 'node:crypto'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { BUILT, type Container } from '../isolated.js'
import type { OriginCertificates } from './origin-certificates.js'

/** tap's test object, as far as it is needed here. */
interface Scope {
  teardown(clean: () => Promise<void> | void): void
}

/** The names that `tls-origin.ts` answers to. */
export const ORIGIN_HOSTS = ['web.test', 'cut.test', 'git.test', 'npm.test']

/** Files that `tls-origin.ts` serves, in a folder of this machine. */
export interface OriginSite {
  readonly folder: string
  /** Adds random content; its digest in hexadecimal. */
  addBlob(bytes: number): string
  /** Adds `<name>.git` with one commit of the files. */
  addRepository(name: string, files: Readonly<Record<string, string>>): void
  /** Adds version 1.0.0 of a package whose only module is `code`. */
  addPackage(name: string, code: string): void
}

export function makeOriginSite(t: Scope): OriginSite {
  const folder = mkdtempSync(join(tmpdir(), 'discobot-site-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  chmodSync(folder, 0o755)
  for (const part of ['blobs', 'git', 'npm']) mkdirSync(join(folder, part))
  const aside = (write: (scratch: string) => void): void => {
    const scratch = mkdtempSync(join(tmpdir(), 'discobot-making-'))
    try {
      write(scratch)
    } finally {
      rmSync(scratch, { recursive: true })
    }
  }
  return {
    folder,
    addBlob(bytes) {
      const content = randomFillSync(Buffer.allocUnsafe(bytes))
      const hex = createHash('sha256').update(content).digest('hex')
      writeFileSync(join(folder, 'blobs', hex), content)
      return hex
    },
    addRepository(name, files) {
      aside((scratch) => {
        const author = ['-c', 'user.name=Tester', '-c', 'user.email=tester@example.com']
        const git = (...words: string[]): void => {
          execFileSync('git', ['-C', scratch, ...author, ...words], { stdio: 'ignore' })
        }
        git('init', '--initial-branch=main')
        writeFiles(scratch, files)
        git('add', '.')
        git('commit', '--message=first')
        git('clone', '--bare', scratch, join(folder, 'git', `${name}.git`))
      })
    },
    addPackage(name, code) {
      aside((scratch) => {
        mkdirSync(join(scratch, 'package'))
        const manifest = JSON.stringify({ name, version: '1.0.0' })
        writeFiles(join(scratch, 'package'), { 'package.json': manifest, 'index.js': code })
        execFileSync('tar', ['-C', scratch, '-czf', join(folder, 'npm', `${name}-1.0.0.tgz`), 'package'])
      })
    },
  }
}

function writeFiles(folder: string, files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
}

/**
 * Starts the servers inside the container and resolves when they listen. Folder and certificates must be seen
 * inside.
 *
 * @returns the lines they have printed so far, one for each request.
 */
export async function startOrigins(
  container: Container,
  site: OriginSite,
  certificates: OriginCertificates,
): Promise<() => readonly string[]> {
  const program = join(BUILT, 'test/lab/origins/tls-origin.js')
  const server = container.spawnInside([process.execPath, program, certificates.folder, site.folder])
  const { stdout, stderr } = server
  if (stdout === null || stderr === null) throw new Error('the servers have no output')
  let complaints = ''
  stderr.setEncoding('utf8').on('data', (chunk: string) => (complaints += chunk))
  const lines: string[] = []
  await new Promise<void>((resolve, reject) => {
    createInterface({ input: stdout }).on('line', (line) => {
      if (line === 'listening') resolve()
      else lines.push(line)
    })
    server.once('exit', (code) => reject(new Error(`the servers ended with ${code}: ${complaints}`)))
  })
  return () => lines
}
