import { findOnPath } from '../settings/programs.js'
import type { RunCommand } from './command.js'

/** Makes accounts and groups; each rejects with the tool's CommandError. */
interface AccountTools {
  /** With a group of its own, no home, and no shell. */
  systemAccount(name: string): Promise<unknown>
  /** With a group of its own; `uid` absent lets the tool choose. */
  personalAccount(name: string, home: string, uid: number | undefined): Promise<unknown>
  group(name: string): Promise<unknown>
  member(user: string, group: string): Promise<unknown>
}

/** shadow's tools where they are, busybox's (Alpine) otherwise. */
export function accountTools(run: RunCommand, signal: AbortSignal, path: string): AccountTools {
  const command = (...words: [string, ...string[]]): Promise<string> =>
    run(words, { env: { PATH: path }, cwd: '/', signal })
  return findOnPath('useradd', path) === undefined ? busyboxTools(command) : shadowTools(command)
}

type Run = (...words: [string, ...string[]]) => Promise<string>

function shadowTools(run: Run): AccountTools {
  const nowhere = ['--no-create-home', '--home-dir', '/nonexistent', '--shell', '/usr/sbin/nologin']
  return {
    systemAccount: (name) => run('useradd', '--system', '--user-group', ...nowhere, name),
    personalAccount: (name, home, uid) => {
      const chosen = uid === undefined ? [] : ['--uid', String(uid)]
      return run(
        'useradd',
        '--user-group',
        '--create-home',
        '--home-dir',
        home,
        '--shell',
        '/bin/bash',
        ...chosen,
        name,
      )
    },
    group: (name) => run('groupadd', '--system', name),
    member: (user, group) => run('usermod', '--append', '--groups', group, user),
  }
}

function busyboxTools(run: Run): AccountTools {
  return {
    systemAccount: async (name) => {
      await run('addgroup', '-S', name)
      await run('adduser', '-S', '-D', '-H', '-h', '/nonexistent', '-s', '/sbin/nologin', '-G', name, name)
    },
    personalAccount: (name, home, uid) =>
      run(
        'adduser',
        '-D',
        '-h',
        home,
        '-s',
        '/bin/sh',
        ...(uid === undefined ? [] : ['-u', String(uid)]),
        name,
      ),
    group: (name) => run('addgroup', '-S', name),
    member: (user, group) => run('addgroup', user, group),
  }
}
