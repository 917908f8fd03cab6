import type { Shell } from './shell.js'

/**
 * Each asks the program itself, so that a shell that was started long ago knows what the program of today can do. The
 * program answers with a line `words`, then one word a line, or with the line `files`.
 */
export function completionScript(shell: Shell, program: string): string {
  return SCRIPTS[shell].replaceAll('PROGRAM', program).replaceAll('FUNCTION', program.replaceAll('-', '_'))
}

/** With no words of ours, readline's own completion takes over: names of files (`compopt -o default`). */
const BASH = `# bash completion of PROGRAM
_FUNCTION() {
  local -a answer
  mapfile -t answer < <("$1" completion bash -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
  COMPREPLY=()
  if [[ \${answer[0]-} == files ]]; then
    compopt -o default
  else
    COMPREPLY=("\${answer[@]:1}")
  fi
}
complete -F _FUNCTION PROGRAM
`

/** Works as a file in `fpath`, which calls what it defines, and by `source`, which does not. */
const ZSH = `#compdef PROGRAM
# zsh completion of PROGRAM
_FUNCTION() {
  local -a answer
  answer=("\${(@f)$("\${(Q)words[1]}" completion zsh -- "\${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ $answer[1] == files ]]; then
    compset -P '--*='
    _files
  else
    answer=("\${(@)answer[2,-1]}")
    _describe PROGRAM answer
  fi
}
if [[ $funcstack[1] == _FUNCTION ]]; then
  _FUNCTION "$@"
else
  compdef _FUNCTION PROGRAM
fi
`

const FISH = `# fish completion of PROGRAM
function __FUNCTION_complete
  set -l words (commandline -opc)
  set -l token (commandline -ct)
  set -l program $words[1]
  set -e words[1]
  set -l answer ($program completion fish -- $words "$token" 2>/dev/null)
  if test "$answer[1]" = files
    set -l option (string match -r -- '^--[^=]*=' $token)
    for path in (__fish_complete_path (string replace -r -- '^--[^=]*=' '' $token))
      echo "$option$path"
    end
  else
    set -e answer[1]
    printf '%s\\n' $answer
  end
end
complete -c PROGRAM -f -a '(__FUNCTION_complete)'
`

const SCRIPTS: Readonly<Record<Shell, string>> = { bash: BASH, zsh: ZSH, fish: FISH }
