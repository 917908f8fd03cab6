import { codeOf } from '../../../base/errors.js'
import { refuse } from '../../../base/http/problem.js'

/** errno → how it is told. What is not here is a failure of ours. */
const REFUSALS: Readonly<Record<string, readonly [status: number, reason: string]>> = {
  ENOENT: [404, 'there is no such file or folder'],
  ENOTDIR: [409, 'a part of the path, or the path itself, is no folder'],
  EISDIR: [409, 'it is a folder'],
  EEXIST: [412, 'it exists already'],
  ENOTEMPTY: [409, 'the folder is not empty; recursive=true deletes what is in it'],
  EACCES: [403, 'permission denied'],
  EPERM: [403, 'the operation is not permitted'],
  EROFS: [403, 'the file system is read-only'],
  // From O_NOFOLLOW: somebody put a link where there was none a moment before.
  ELOOP: [403, 'a symbolic link is in the way'],
  ENXIO: [409, 'it is neither a file nor a folder'],
  EBUSY: [409, 'it is in use'],
  ENAMETOOLONG: [400, 'a name is too long'],
  ENOSPC: [507, 'the disk is full'],
  EDQUOT: [507, 'the disk quota is used up'],
  EFBIG: [507, 'the file would be larger than the file system takes'],
}

/** Throws a RefusedRequestError for what the system says about `path`, and everything else as it is. */
export function refuseSystemError(error: unknown, path: string): never {
  const [status, reason] = REFUSALS[codeOf(error) ?? ''] ?? []
  if (status === undefined || reason === undefined) throw error
  return refuse(status, `${JSON.stringify(path)}: ${reason}`)
}
