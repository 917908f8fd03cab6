#!/usr/bin/env node
'use strict'
/**
 * Starts a bundled program: `bundle.mjs` writes this file as `<name>.cjs`, with the name of its code for `PROGRAM`:
 * `<name>.<release>`, where the release is a digest of all programs, so that no other code can have the same. What V8
 * made of it then lies beside it as `.cache`: a start reads functions instead of compiling them, which is most of what
 * it costs (docs/decisions/0010-start-up.md).
 * Plain CommonJS, because Node's loader of ES modules alone takes a third of a bare start.
 *
 * A cache of another version of V8, of code of another length, or none at all is as good as nothing: V8 refuses it and
 * compiles.
 */
const { readFileSync } = require('node:fs')
const { Script } = require('node:vm')

const program = 'PROGRAM'
const base = `${__dirname}/${program}`
const filename = `${base}.code.js`
// The bundler writes ASCII, which needs no decoding.
const code = readFileSync(filename, 'latin1')
let cachedData
try {
  cachedData = readFileSync(`${base}.cache`)
} catch {
  // A bundle without it starts slower, and that is all.
}
/**
 * Modules of Node's that take 1 to 4 ms each to bring in, and that a start needs late or never: the code gets an object
 * that has nothing until it is asked for something, and then all that the module has.
 */
const late = new Map(['LATE'].map((name) => [`node:${name}`, whenAsked(`node:${name}`)]))

function whenAsked(name) {
  const module = {}
  const asked = {
    get(_, key) {
      const real = require(name)
      // From now on it is found like any property that is inherited.
      Object.setPrototypeOf(module, real)
      return real[key]
    },
  }
  return Object.setPrototypeOf(module, new Proxy({}, asked))
}

const run = new Script(code, { filename, cachedData }).runInThisContext()
run(
  exports,
  (name) => late.get(name) ?? require(name),
  module,
  __filename,
  __dirname,
  program.slice(program.lastIndexOf('.') + 1),
)
