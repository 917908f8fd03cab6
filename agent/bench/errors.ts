/** Of the bench alone: nobody who uses Discobot meets one, so it has no code in `docs/errors.md`. */
export class BenchError extends Error {}
