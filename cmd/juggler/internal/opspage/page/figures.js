// What the figures of a node mean: those of now, of a second, and of the last minute.

const minute = 60_000

/** What a node told lately, the newest last. */
export class History {
  #all = []

  /** Takes what a node tells. Another node, or one that was started anew, begins anew. */
  add(node) {
    const at = Date.parse(node.Now)
    if (this.#all.length > 0 && (this.last.Node !== node.Node || at < this.#all.at(-1).at)) this.#all = []
    this.#all.push({ at, node })
    while (this.#all.length > 2 && this.#all[1].at <= at - minute) this.#all.shift()
  }

  get last() { return this.#all.at(-1).node }

  /** How often a second something of Stats happened between each two times. */
  rates(name) {
    return this.#all.slice(1).map((b, i) => {
      const a = this.#all[i]
      return ((b.node.Stats[name] - a.node.Stats[name]) * 1000) / Math.max(1, b.at - a.at)
    })
  }

  values(name) { return this.#all.map((s) => s.node.Stats[name]) }

  /** How often something happened in the last minute, or since the page looks. */
  lately(count) { return count(this.last) - count(this.#all[0].node) }

  /** Counts of a list of Stats: [labels, in the last minute, in all], the most frequent lately first. */
  counts(list, labels) {
    const key = (c) => JSON.stringify(labels(c))
    const before = new Map((this.#all[0].node.Stats[list] ?? []).map((c) => [key(c), c.Count]))
    return (this.last.Stats[list] ?? [])
      .map((c) => [labels(c), c.Count - (before.get(key(c)) ?? 0), c.Count])
      .sort((a, b) => b[1] - a[1] || b[2] - a[2])
  }
}

const sum = (list, which) => (list ?? []).filter(which).reduce((n, c) => n + c.Count, 0)
const refused = (...reasons) => (n) => sum(n.Stats.Refusals, (r) => reasons.includes(r.Reason))
const redis = (name) => (n) => (n.Redis ?? []).reduce((all, b) => all + b.Stats[name], 0)

// What should not happen often, and what it is. docs/operations.md has what to do.
const happenings = [
  [(n) => n.Stats.Panics, 'panics in code of the server: see the log'],
  [(n) => n.Stats.Blocked, 'functions that must not wait did: the log names them'],
  [(n) => sum(n.Stats.NackCodes, (c) => c.Type === 'CALL' && c.Code === 404), 'calls to URIs without a callee (404)'],
  [(n) => sum(n.Stats.NackCodes, (c) => c.Code === 503), 'requests refused with 503: callees are too slow, or the broker is away'],
  [(n) => sum(n.Stats.NackCodes, (c) => c.Code === 429), 'requests refused with 429: clients are beyond their bounds'],
  [(n) => sum(n.Stats.ResultCodes, (c) => c.Code === 408), 'calls whose time was over (408): callees are too slow'],
  [(n) => sum(n.Stats.ResultCodes, (c) => c.Code === 502), 'calls whose callee died (502)'],
  [(n) => sum(n.Stats.ResultCodes, (c) => c.Code === 500), 'calls that failed (500): the log of the callee says why'],
  [(n) => n.Stats.SlowConsumers, 'sessions closed since the client did not read (4500)'],
  [(n) => n.Stats.Gaps, 'topics for which events may have been missed'],
  [(n) => n.Stats.StreamsBroken, 'answers of which the broker lost a part'],
  [(n) => n.Stats.HeldUp, 'event loops held up by the function of a callee'],
  [refused('max_sessions', 'no_descriptor'), 'clients refused as the node is full'],
  [refused('authenticator_failed', 'broker', 'revoked_unknown'), 'clients refused as what the node asks is away'],
  [redis('LinksLost'), 'connections to Redis lost'],
  [redis('Corrupt'), 'values in Redis that are not juggler’s'],
]

/** What an operator should look at, as texts. */
export function notable(history) {
  const n = history.last
  const all = []
  if (n.NotReady) all.push(`Clients should not come here: ${n.NotReady}`)
  for (const b of n.Redis ?? []) {
    if (b.Health) all.push(`Redis ${b.Address}: ${b.Health}`)
    if (b.Stats.Evicting > 0) all.push(`Redis ${b.Address} may evict calls: its maxmemory-policy is not noeviction`)
  }
  for (const [count, text] of happenings) {
    const lately = history.lately(count)
    if (lately > 0) all.push(`${lately.toLocaleString('en')} ${text}, in the last minute`)
  }
  return all
}
