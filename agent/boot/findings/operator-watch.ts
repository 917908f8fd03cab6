import { stat } from 'node:fs/promises'
import { readConfigTexts } from '../../../config/layers/config-texts.js'
import { reasonOf } from '../../../base/errors.js'
import type { Logger } from '../../../base/log/logger.js'
import type { FileWatch } from '../../../base/files/watch-file.js'
import type { BootFindings } from './findings.js'

/** A save is noticed at once where inotify tells of it, and after this where it does not: one stat each time. */
const POLL_MS = 2_000

interface OperatorWatchDeps {
  /** The operator's file. */
  readonly file: string
  readonly findings: BootFindings
  /** What the file was when it was last read. */
  readonly seen: () => string | undefined
  /** Takes up what it says now. Rejects with what is wrong with it. */
  readonly takeUp: () => Promise<void>
  readonly logger: Logger
}

/**
 * Follows the operator's file while the container runs. The proxy follows only what was composed of it, which does not
 * change by itself.
 */
export async function watchOperatorFile(deps: OperatorWatchDeps): Promise<FileWatch> {
  const { watchFile } = await import('../../../base/files/watch-file.js')
  return watchFile(deps.file, () => look(deps), deps.logger, POLL_MS)
}

async function look({ file, findings, seen, takeUp, logger }: OperatorWatchDeps): Promise<void> {
  tellIfReplaced(file, findings, (await stat(file).catch(() => undefined))?.nlink === 0, logger)
  if ((await operatorStamp(file)) === seen()) return
  try {
    await takeUp()
    logger.info({ file }, "the operator's file was saved, and is in force")
  } catch (error) {
    logger.warn({ reason: reasonOf(error) }, "the operator's file was saved, with problems")
  }
}

/** A mount of one file shows the old one for good once another was renamed over it: that one has no name any more. */
function tellIfReplaced(file: string, findings: BootFindings, isReplaced: boolean, logger: Logger): void {
  if (isReplaced === (findings.operatorReplaced !== undefined)) return
  if (!isReplaced) {
    delete findings.operatorReplaced
    return
  }
  findings.operatorReplaced = `${file} was replaced outside of the container, where its mount still shows the old one; mount its folder instead, and start the container again`
  logger.warn({ file }, findings.operatorReplaced)
}

/** Differs when the file does. */
async function operatorStamp(file: string): Promise<string> {
  const { operator } = await readConfigTexts({ operatorFile: file })
  return stampOf(operator)
}

export function stampOf(operator: Awaited<ReturnType<typeof readConfigTexts>>['operator']): string {
  return JSON.stringify(operator?.found)
}
