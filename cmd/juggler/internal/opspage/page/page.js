// Asks the node every two seconds what goes on, and shows it.
import { bytes, byId, element, number, show, spark, table } from './dom.js'
import { History, notable } from './figures.js'
import './follow.js'

const every = 2000
const mostNames = 10
const mostQueues = 20
const brokerEvery = 10_000 // it is asked for queues and nodes

const history = new History()
let paused = false
let answered = 0 // when the node did, last

byId('pause').addEventListener('click', () => {
  paused = !paused
  byId('pause').setAttribute('aria-pressed', String(paused))
  if (!paused) void refresh()
})

async function get(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(5000) })
  if (!answer.ok) throw new Error(`${answer.status} ${(await answer.text()).trim()}`)
  return answer.json()
}

const idle = () => paused || document.visibilityState === 'hidden'

async function refresh() {
  try {
    history.add(await get('ops/node'))
    answered = Date.now()
    document.body.classList.remove('stale')
    render(history.last)
  } catch (e) {
    document.body.classList.add('stale')
    state('bad', answered ? `no answer for ${Math.round((Date.now() - answered) / 1000)} s: ${e.message}` : `no answer: ${e.message}`)
  }
}

async function refreshQueues() {
  try {
    renderQueues(await get('ops/queues'))
  } catch (e) {
    renderQueues({ Queues: [], Error: e.message })
  }
}

async function refreshNodes() {
  try {
    renderNodes(await get('ops/nodes'))
  } catch (e) {
    renderNodes({ InCluster: true, Nodes: [], Error: e.message })
  }
}

function repeat(f, ms) {
  const again = async () => {
    if (!idle()) await f()
    setTimeout(again, ms)
  }
  void again()
}

const state = (className, text) => show('state', element('span', className, text))

function render(n) {
  show('host', element('span', '', `on ${n.Host}, process ${n.PID}, node ${n.Node}`))
  state(n.NotReady ? 'bad' : 'good', n.NotReady ? 'not ready' : 'ready')
  const all = notable(history)
  show('notable', ...(all.length > 0 ? all.map((text) => element('li', 'bad', text)) : [element('li', 'good', 'Nothing in the last minute.')]))
  show('tiles', ...tiles(n.Stats))
  renderTop(n.Top)
  renderCodes(n.Stats)
  renderBrokers(n)
}

function tiles(s) {
  const tile = (label, value, line) => element('div', '', element('dt', '', label), element('dd', '', value, spark(line)))
  const now = (label, name, show = number) => tile(label, show(s[name]), history.values(name))
  const rate = (label, name) => {
    const line = history.rates(name)
    return tile(label, line.length > 0 ? `${number(line.at(-1))}/s` : '…', line.length > 0 ? line : [0])
  }
  return [
    now('sessions', 'Sessions'), now('subscriptions', 'Subscriptions'), rate('clients come', 'Connected'),
    rate('messages in', 'Messages'), rate('calls answered', 'Results'), rate('requests refused', 'Nacks'),
    rate('publications', 'Publications'), rate('events out', 'Events'),
    now('answers in parts', 'Streams'), now('waits on the node', 'QueuedBytes', bytes),
  ]
}

function renderTop(top) {
  const seconds = top.Over / 1e9
  show('top-over', element('span', '', seconds > 0 ? `in the last ${Math.round(seconds)} s` : '(off: --top 0)'))
  const list = (id, caption, names) => {
    const first = (names ?? []).slice(0, mostNames)
    const most = first.some((c) => c.Error > 0) // then others had their counters before
    show(id, table(caption, ['name', most ? 'a second, at least' : 'a second', ...(most ? ['at most'] : [])],
      first.map((c) => [own(c), (c.Count - c.Error) / seconds, ...(most ? [c.Count / seconds] : [])])))
  }
  list('top-calls', 'URIs that are called', top.Calls)
  list('top-publications', 'channels that clients publish on', top.Publications)
  list('top-events', 'channels by events to clients', top.Events)
}

const own = (c) => (c.Own ? `own: ${c.Name}` : c.Name)
const code = (c) => (c === -1 ? 'other' : String(c))

function renderCodes(s) {
  const list = (id, caption, columns, name, labels) => show(id, table(caption, [...columns, '1 min', 'in all'],
    history.counts(name, labels).map(([l, lately, all]) => [...l, lately, all])))
  list('results', 'Results of calls', ['code'], 'ResultCodes', (c) => [c.Code === 0 ? '0 (done)' : code(c.Code)])
  list('nacks', 'Requests refused', ['request', 'code'], 'NackCodes', (c) => [c.Type, code(c.Code)])
  list('refusals', 'Handshakes refused', ['status', 'reason'], 'Refusals', (c) => [String(c.Status), c.Reason])
  const closes = (name, by) => history.counts(name, (c) => [by, code(c.Code)])
  show('closes', table('Sessions ended', ['by', 'code', '1 min', 'in all'],
    [...closes('ClosesByUs', 'server'), ...closes('ClosesByPeers', 'client')].sort((a, b) => b[1] - a[1]).map(([l, lately, all]) => [...l, lately, all])))
  const calls = s.Calls ?? []
  byId('calls').hidden = calls.length === 0
  if (calls.length === 0) return
  show('calls', table('Calls by URI since the start (--call-stats)', ['URI', 'code', 'calls', 'ms each', 'in the function'],
    calls.map((c) => [c.URI || '(others)', code(c.Code), c.Count, c.Total / 1e6 / c.Count, c.Ran / 1e6 / c.Count])))
}

function renderBrokers(n) {
  const e = n.Embedded
  if (e) {
    show('brokers', table('Embedded broker', ['calls that wait', 'their memory', 'events kept', 'their memory', 'calls with keys', 'their memory'],
      [[e.QueuedCalls, bytes(e.QueuedBytes), e.KeptEvents, bytes(e.KeptBytes), e.KeyedCalls, bytes(e.KeyedBytes)]]))
    return
  }
  show('brokers', table('Brokers on Redis, as this node sees them', ['address', 'health', 'calls queued', 'results', 'published', 'messages in', 'links lost'],
    (n.Redis ?? []).map((b) => ({ bad: b.Health !== '', cells: [b.Address, b.Health || 'ok', b.Stats.Calls, b.Stats.Received, b.Stats.Published, b.Stats.Events, b.Stats.LinksLost] }))))
}

function renderQueues(q) {
  const all = q.Queues ?? []
  const first = all.slice(0, mostQueues)
  let caption = 'Callees and what waits for them, of all nodes'
  if (q.URIs > first.length) caption += `: ${first.length} of ${number(q.URIs)} URIs, ${number(q.Calls)} calls wait`
  if (q.Error) caption += ` (not all known: ${q.Error})`
  else if (!q.All) caption += ' (the broker has looked at a part of the URIs)'
  show('queues', table(caption, ['URI', 'calls that wait', 'callees'],
    first.map((u) => ({ bad: u.Callees === 0, cells: [u.URI, u.Calls, u.Callees] }))))
}

function renderNodes(n) {
  if (!n.InCluster) {
    show('nodes', element('p', 'none', 'This node knows of no others: it has no Redis, or --cluster is off.'))
    return
  }
  const seconds = (ns) => `${Math.round(ns / 1e9)} s ago`
  const caption = n.Error ? `Nodes (not known: ${n.Error})` : `Nodes: ${n.Nodes.length}`
  show('nodes', table(caption, ['host', 'process', 'node', 'version', 'since', 'sessions', 'users', 'said so', 'state'],
    (n.Nodes ?? []).map((i) => ({ bad: i.Draining, cells: [i.Host, String(i.PID), i.Node, i.Version || '?', i.Started.slice(0, 16).replace('T', ' '), i.Sessions, i.Users, seconds(i.Age), i.Draining ? 'draining' : 'serving'] }))))
}

document.addEventListener('visibilitychange', () => { if (!idle()) void refresh() })
repeat(refresh, every)
repeat(refreshQueues, brokerEvery)
repeat(refreshNodes, brokerEvery)
