// Runs the public test suite for HTTP caches (npm `http-cache-tests`) against a cache in front of its origin.
//
//     stdout: the origin's URL ──► stdin: the cache's URL ──► the suite ──► stdout: a line of JSON with every test's verdict
//
// Origin and client are the suite's own modules, in one process: see origin.mjs for why, and for what it adds.

import readline from 'node:readline'

import * as display from 'http-cache-tests/lib/display.mjs'
import { getResults, runTests } from 'http-cache-tests/client/runner.mjs'
import suites from 'http-cache-tests/tests/index.mjs'
import fetch from 'node-fetch'

import { merged, noting, serve } from './origin.mjs'

// The suite's modules print what they notice; standard output is for the results.
console.log = console.error

const say = text => new Promise(resolve => process.stdout.write(`${text}\n`, resolve))

// The suite names its verdicts by what it prints for them.
const VERDICTS = {
  '✅': 'pass',
  '⛔️': 'fail',
  '⚠️': 'fail',
  Y: 'yes',
  N: 'no',
  '🔹': 'setup',
  '↻': 'retry',
  '⁉️': 'harness',
  '⚪️': 'dependency',
  '-': 'untested'
}

function verdicts () {
  const results = getResults()
  const verdict = id => VERDICTS[display.determineTestResult(suites, id, results)[2]]
  const good = id => ['pass', 'yes'].includes(verdict(id))
  return suites.flatMap(suite => suite.tests.filter(test => !test.browser_only).map(test => ({
    id: test.id,
    name: test.name,
    suite: suite.name,
    kind: test.kind ?? 'required',
    verdict: verdict(test.id),
    message: results[test.id]?.[1] ?? '',
    needs: (test.depends_on ?? []).filter(id => !good(id))
  })))
}

/** Runs the tests, or only those whose ids are given, which print what they say. */
async function run (cache, only) {
  const chosen = suites.map(suite => ({
    ...suite,
    tests: suite.tests.filter(test => only.length === 0 || only.includes(test.id))
  }))
  for (const suite of chosen) for (const test of suite.tests) test.dump = only.length > 0
  await runTests(chosen, noting(fetch), false, cache)
  return verdicts()
}

const origin = await serve()
await say(`http://127.0.0.1:${origin.address().port}`)
for await (const cache of readline.createInterface({ input: process.stdin })) {
  const tests = await run(cache.trim(), process.argv.slice(2))
  await say(JSON.stringify({ tests, merged }))
  process.exit(0)
}
