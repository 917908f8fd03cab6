// What is used of the package, which has no types of its own.

declare module 'http-cache-tests/tests/index.mjs' {
  export interface CacheTest {
    readonly id: string
    /** `required` where it is absent. */
    readonly kind?: 'required' | 'optimal' | 'check'
    readonly name: string
    readonly browser_only?: boolean
    readonly depends_on?: readonly string[]
  }
  const suites: readonly {
    readonly id: string
    readonly name: string
    readonly tests: readonly CacheTest[]
  }[]
  export default suites
}

declare module 'http-cache-tests/client/runner.mjs' {
  import type suites from 'http-cache-tests/tests/index.mjs'

  export type FetchInit = {
    readonly method?: string
    readonly headers?: readonly (readonly [string, string | number])[]
    readonly body?: string
  }
  export interface Fetched {
    readonly status: number
    readonly statusText: string
    readonly headers: Headers
    text(): Promise<string>
  }
  export function runTests(
    tests: typeof suites,
    fetch: (url: string, init?: FetchInit) => Promise<Fetched>,
    isBrowser: boolean,
    baseUrl: string,
    chunkSize: number,
  ): Promise<void>
  /** True, or the kind of failure and its reason. */
  export function getResults(): Readonly<Record<string, true | readonly [string, string]>>
}
