'use strict'
/**
 * `node --require record.cjs <name>.cjs …` writes its `.cache` when the program exits: what V8 has compiled until
 * then. So the cache holds the functions that a start runs and no others, which would only take time to read.
 */
const { writeFileSync } = require('node:fs')
const v8 = require('node:v8')
const vm = require('node:vm')

// The cache is good for one set of V8's flags: the one that a program is started with, whatever it changes later.
v8.setFlagsFromString = () => undefined

vm.Script = class extends vm.Script {
  constructor(code, options) {
    super(code, options)
    process.on('exit', () => {
      writeFileSync(options.filename.replace(/\.code\.js$/, '.cache'), this.createCachedData())
    })
  }
}
