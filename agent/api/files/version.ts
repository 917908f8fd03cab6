import type { BigIntStats } from 'node:fs'
import type { IncomingHttpHeaders } from 'node:http'
import { refuse } from '../../../base/http/problem.js'

/**
 * The entity tag of a file as it is now. Inode and times in nanoseconds: a file that was replaced has another inode,
 * one that was written to another time, as exact as the kernel's clock tick.
 */
export function entityTag(stats: BigIntStats): string {
  return `"${[stats.ino, stats.size, stats.mtimeNs, stats.ctimeNs].map((part) => part.toString(36)).join('-')}"`
}

/** Whether a list of tags as in `If-None-Match` names this one; `W/` makes no difference (RFC 9110 section 8.8.3.2). */
export function namesTag(header: string, tag: string): boolean {
  const names = header.split(',').map((name) => name.trim().replace(/^W\//, ''))
  return names.includes('*') || names.includes(tag)
}

/** What the client believes of the file it is about to change. */
export interface Belief {
  readonly ifMatch?: string
  readonly ifNoneMatch?: string
}

export function beliefOf(headers: IncomingHttpHeaders): Belief {
  const { 'if-match': ifMatch, 'if-none-match': ifNoneMatch } = headers
  if (ifNoneMatch !== undefined && ifNoneMatch.trim() !== '*')
    refuse(400, 'If-None-Match can only be * here: the file must not exist')
  return {
    ...(ifMatch === undefined ? {} : { ifMatch }),
    ...(ifNoneMatch === undefined ? {} : { ifNoneMatch }),
  }
}

/** @throws RefusedRequestError with 412 when it is otherwise; `stats` of the file, or undefined where there is none. */
export function checkBelief({ ifMatch, ifNoneMatch }: Belief, stats: BigIntStats | undefined): void {
  if (ifNoneMatch !== undefined && stats !== undefined) refuse(412, 'there is something of that name already')
  if (ifMatch === undefined) return
  if (stats === undefined) refuse(412, 'there is no such file any more')
  if (!stats.isFile() || !namesTag(ifMatch, entityTag(stats))) refuse(412, 'the file has changed since')
}
