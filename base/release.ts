/** Put in by the start of a bundled program (scripts/program/start.cjs). */
declare const DISCOBOT_RELEASE: string | undefined

/**
 * Names the code of all programs of a bundle; undefined for what was built and not bundled, whose files change one by
 * one. What was computed by code of the same name need not be computed again.
 */
export const RELEASE: string | undefined = typeof DISCOBOT_RELEASE === 'string' ? DISCOBOT_RELEASE : undefined
