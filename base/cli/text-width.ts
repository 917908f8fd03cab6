/** Running text in fewer columns is hard to read. */
export const LEAST_TEXT = 20
const PLAIN = /^[\x20-\x7e]*$/
/** Wide and fullwidth characters (UAX 11), and emoji that are shown as pictures. */
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\u4dbf\u4e00-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}/u
/** Marks that are put on the character before, and characters that are not shown. */
const WITHOUT_WIDTH = /[\p{Mn}\p{Me}\p{Cf}]/u

/** The columns that a terminal needs for the text, which has no control characters. */
export function textWidth(text: string): number {
  if (PLAIN.test(text)) return text.length
  let width = 0
  for (const character of text) width += widthOf(character)
  return width
}

function widthOf(character: string): number {
  if (WITHOUT_WIDTH.test(character)) return 0
  return WIDE.test(character) ? 2 : 1
}

export function padEnd(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - textWidth(text)))
}

export function padStart(text: string, width: number): string {
  return ' '.repeat(Math.max(0, width - textWidth(text))) + text
}

/** The text, or its beginning and its end around a `…`: names tell more at both ends than in the middle. */
export function cutMiddle(text: string, width: number): string {
  if (textWidth(text) <= width) return text
  const room = Math.max(0, width - 1)
  const end = fitting([...text].reverse(), Math.floor(room / 2)).reverse()
  return `${cutEnd(text, room - textWidth(end.join('')))}…${end.join('')}`
}

/** As much of the beginning as fits. */
export function cutEnd(text: string, width: number): string {
  return textWidth(text) <= width ? text : fitting([...text], width).join('')
}

function fitting(characters: readonly string[], width: number): string[] {
  let used = 0
  const end = characters.findIndex((character) => (used += widthOf(character)) > width)
  return characters.slice(0, end === -1 ? characters.length : end)
}

/** Lines of at most `width` columns, broken at blanks. A longer word is cut, or kept whole so that it can be copied. */
export function wrap(text: string, width: number, longWords: 'cut' | 'keep' = 'cut'): readonly string[] {
  if (textWidth(text) <= width) return [text]
  const lines: string[] = []
  let line = ''
  const words = text.split(' ').flatMap((word) => (longWords === 'cut' ? pieces(word, width) : [word]))
  for (const word of words) {
    if (line !== '' && textWidth(line) + 1 + textWidth(word) > width) {
      lines.push(line)
      line = ''
    }
    line = line === '' ? word : `${line} ${word}`
  }
  return line === '' ? lines : [...lines, line]
}

/** The text behind its label, and its further lines below its first one. Long words are kept: people copy them. */
export function behind(label: string, text: string, columns: number): readonly string[] {
  const indent = textWidth(label)
  const room = Math.max(LEAST_TEXT, columns - indent)
  return wrap(text, room, 'keep').map((line, at) => (at === 0 ? label : ' '.repeat(indent)) + line)
}

function pieces(word: string, width: number): readonly string[] {
  if (textWidth(word) <= width) return [word]
  // A character that is wider than the line has to go somewhere.
  const first = cutEnd(word, width) || [...word].slice(0, 1).join('')
  return [first, ...pieces(word.slice(first.length), width)]
}
