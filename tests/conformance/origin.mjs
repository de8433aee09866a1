// The suite's origin, which also knows requests that are built from a page's key.
//
//     client ──noting(fetch)──► coppice ──► serve(): number the request, forget the one before it if both are one exchange
//        └────── test X is at request N ──────┘                    └─► the suite's own handler

import http from 'node:http'

import handleConfig from 'http-cache-tests/server/handle-config.mjs'
import handleState from 'http-cache-tests/server/handle-state.mjs'
import handleTest from 'http-cache-tests/server/handle-test.mjs'
import { setStash, stash } from 'http-cache-tests/server/utils.mjs'

// The suite's client numbers its requests in this header, and its origin looks there. A request whose answer may be
// stored does not carry it: the client notes the number here, and the origin fills it in. A test makes one request after
// the other, so there is one number a test.
const NUMBER = 'req-num'
const underWay = new Map()

// Of each test, the last request that reached the origin.
const last = new Map()

/** How often two requests were counted as one exchange, by reason. */
export const merged = { vary: 0, unshared: 0 }

/** The suite's `fetch`, which notes what it asks. */
export function noting (fetch) {
  return (url, init = {}) => {
    const [kind, id] = segments(url)
    const number = init.headers?.find(([name]) => name.toLowerCase() === NUMBER)?.[1]
    if (kind === 'test' && number) underWay.set(id, number)
    return fetch(url, init)
  }
}

/** Starts the origin on a free port of the loopback interface. */
export function serve () {
  const handlers = { config: handleConfig, state: handleState, test: answer }
  const server = http.createServer((request, response) => {
    const [kind, ...rest] = segments(request.url)
    const handler = handlers[kind]
    if (handler) return handler(rest, request, response)
    response.end()
  })
  // A connection that waits while a test pauses must not close under the next request.
  server.keepAliveTimeout = 0
  return new Promise(resolve => server.listen(0, '127.0.0.1', () => resolve(server)))
}

function answer (path, request, response) {
  const [id] = path
  const own = NUMBER in request.headers
  if (!own && underWay.has(id)) request.headers[NUMBER] = underWay.get(id)
  const number = request.headers[NUMBER]
  const why = mergedBecause(last.get(id), number, own, request.headers)
  if (why) {
    merged[why]++
    setStash(id, stash.get(id).slice(0, -1))
  }
  handleTest(path, request, response)
  // A body in a transfer coding that nobody knows ends with its connection (RFC 9112 section 6.3).
  if (response.hasHeader('transfer-encoding')) response.once('finish', () => request.socket.end())
  last.set(id, { number, own, vary: names(response.getHeader('vary')) })
}

// Where one request of the client's takes two of the cache's, of which the client sees the second answer only. The first
// was built from the key alone, and its answer said that it is not the one to give: its `Vary` names a header that this
// visitor sent, or it may not be shared, so that the visitor's own request follows. The suite would call it a retry.
function mergedBecause (before, number, own, headers) {
  if (!before || before.own || before.number !== number) return undefined
  if (own) return 'unshared'
  return before.vary.some(name => name in headers) ? 'vary' : undefined
}

function names (vary = '') {
  return String(vary).toLowerCase().split(',').map(name => name.trim()).filter(name => name && name !== '*')
}

function segments (url) {
  return new URL(url, 'http://origin').pathname.split('/').slice(1)
}
