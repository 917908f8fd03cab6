/**
 * Shell text that notes in `/.data` when process 1 starts, and lets `watch` look on beside it from then on. It is the
 * last thing of the set-up: what follows is one `exec`.
 */
export function startClock(watch: string): string {
  return `(exec bash -c ${quote(`${WAIT}\n${watch}`)} >/dev/null 2>&1) &
bash -c 'echo "$EPOCHREALTIME" >/.data/started'
`
}

/** Sleeps without a process of its own, so that looking on costs as little as it can. */
const WAIT = `exec {nothing}<> <(:)
pause() { read -rt 0.002 -u "$nothing" || :; }
note() { echo "$EPOCHREALTIME" >"/.data/$1.part"; mv "/.data/$1.part" "/.data/$1"; }`

function quote(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`
}
