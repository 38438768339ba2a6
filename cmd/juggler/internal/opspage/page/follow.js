// Follows one user or session, as the server allows it.
import { byId, element, row, show, table } from './dom.js'

const mostRows = 1000 // which is how many frames the server tells at most

let stop = null // ends what runs

byId('follow').addEventListener('submit', (e) => {
  e.preventDefault()
  void follow({ [byId('kind').value]: byId('whom').value, Text: byId('text').checked })
})
byId('stop').addEventListener('click', () => stop?.abort())

const say = (text) => { byId('following').replaceChildren(element('span', '', text)) }

function running(on) {
  byId('start').disabled = on
  byId('stop').disabled = !on
}

async function follow(whom) {
  stop = new AbortController()
  running(true)
  say('beginning …')
  try {
    const answer = await fetch('ops/follow', {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(whom), signal: stop.signal,
    })
    if (!answer.ok) throw new Error((await answer.text()).trim())
    await read(answer.body, whom.Text)
  } catch (e) {
    say(stop.signal.aborted ? 'Stopped.' : `${e.message}`)
  }
  running(false)
}

async function read(body, withText) {
  const columns = ['time', 'session', 'way', 'type', 'id', 'name', 'code', 'ms', 'bytes', ...(withText ? ['text'] : [])]
  show('frames', table('Messages, the oldest first: ▸ from the client, ◂ to it', columns, []))
  const rows = byId('frames').querySelector('tbody')
  byId('frames').querySelector('.none').remove()
  const begun = new Map() // when requests came, by session and id
  for await (const line of lines(body)) {
    if ('Sessions' in line) {
      say(line.Sessions > 0 ? `Following ${line.Sessions} of the sessions here.` : 'The user has no session here now: is it on another node? Waiting for one.')
      continue
    }
    if (line.Lost > 0) rows.append(element('tr', 'bad', wide(columns.length, `${line.Lost} messages left out: they came faster than they could be shown`)))
    if (line.End) {
      say(`Over: ${line.End}.`)
      return
    }
    rows.append(row(frameRow(line, begun, withText)))
    while (rows.childElementCount > mostRows) rows.firstElementChild.remove()
  }
  say('Over: the server has closed the connection.')
}

function wide(columns, text) {
  const td = element('td', 'name', text)
  td.colSpan = columns
  return td
}

function frameRow(f, begun, withText) {
  const key = `${f.Session} ${f.ID}`
  const at = Date.parse(f.Time)
  let took = ''
  if (f.ByClient && f.ID && f.Type !== 'CANCEL' && f.Type !== 'MORE') begun.set(key, at)
  else if (begun.has(key)) took = at - begun.get(key)
  if (f.Type === 'RES' || f.Type === 'NACK') begun.delete(key)
  const type = f.Close ? 'close' : f.Type === 'invalid' ? 'not understood' : f.Type
  const name = (f.Own ? 'own: ' : '') + f.Name + (f.Pattern ? ' (pattern)' : '')
  const cells = [f.Time.slice(11, 23), f.Session.slice(-8), f.ByClient ? '▸' : '◂', type, f.ID, name, f.Close || f.Code || '', took, f.Bytes || '']
  return { cells: withText ? [...cells, f.Text] : cells, bad: f.Code > 0 || (f.Close > 0 && f.Close !== 1000 && f.Close !== 1001) }
}

/** The lines of JSON of a body, as they come. */
async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  for (;;) {
    const { value, done } = await reader.read()
    if (done) return
    const all = (rest + value).split('\n')
    rest = all.pop()
    for (const line of all) yield JSON.parse(line)
  }
}
