import { EVERYBODY, type AccessTable } from '../../base/http/access.js'

/** Every route is for everybody. */
export const OPEN_ACCESS: AccessTable = {
  open: EVERYBODY,
  read: EVERYBODY,
  write: EVERYBODY,
  token: EVERYBODY,
}
