import js from '@eslint/js'
import tseslint from 'typescript-eslint'
import entriesAreGuarded from './scripts/entries-are-guarded.mjs'

/** Import directions and cycles are checked by scripts/check-imports.mjs, layout by prettier. */
export default tseslint.config(
  { ignores: ['dist/', '.tap/', '.data/', 'node_modules/'] },
  { linterOptions: { reportUnusedDisableDirectives: 'error' } },
  js.configs.recommended,
  {
    files: ['{base,config,proxy,agent,test}/**/*.ts'],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { project: './tsconfig.json', tsconfigRootDir: import.meta.dirname } },
    plugins: { own: { rules: { 'entries-are-guarded': entriesAreGuarded } } },
    rules: {
      'no-console': 'error',
      eqeqeq: 'error',
      // Names and frames are checked for NUL and other control bytes on purpose.
      'no-control-regex': 'off',
      // Objects made of closures, which is what ours are, declare methods that need no `this`.
      '@typescript-eslint/unbound-method': 'off',
      '@typescript-eslint/consistent-type-imports': [
        'error',
        { fixStyle: 'inline-type-imports', disallowTypeAnnotations: false },
      ],
      '@typescript-eslint/no-explicit-any': 'error',
      // A rejection that nobody handles ends a program; `void` would only hide it. See base/process/entry.ts.
      '@typescript-eslint/no-floating-promises': ['error', { ignoreVoid: false }],
      '@typescript-eslint/no-misused-promises': 'error',
      'own/entries-are-guarded': 'error',
      '@typescript-eslint/no-non-null-assertion': 'error',
      '@typescript-eslint/only-throw-error': 'error',
      '@typescript-eslint/prefer-promise-reject-errors': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: true },
      ],
      // `_` marks a parameter that a signature asks for and nobody reads.
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      // An async function without await is how a method keeps a promise its interface makes.
      '@typescript-eslint/require-await': 'off',
    },
  },
  {
    files: ['**/{test,bench}/**/*.ts'],
    rules: {
      // A test or a measurement that ends by a fault says so; nobody else's connections end with it.
      'own/entries-are-guarded': 'off',
      // tap's `t.test` returns a promise that tap itself waits for.
      '@typescript-eslint/no-floating-promises': [
        'error',
        {
          allowForKnownSafePromises: [
            { from: 'package', name: 'PromiseWithSubtest', package: '@tapjs/core' },
          ],
        },
      ],
    },
  },
  {
    files: ['agent/preload/*.cjs'],
    languageOptions: { globals: { process: 'readonly', URL: 'readonly' } },
  },
  {
    files: ['scripts/program/*.cjs'],
    languageOptions: { globals: { process: 'readonly', __dirname: 'readonly', __filename: 'readonly' } },
  },
  {
    files: ['scripts/**/*.mjs', 'eslint.config.js'],
    languageOptions: {
      globals: {
        console: 'readonly',
        fetch: 'readonly',
        process: 'readonly',
        setTimeout: 'readonly',
        clearTimeout: 'readonly',
        URL: 'readonly',
      },
    },
  },
)
