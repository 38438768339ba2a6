// What the page is made of. All that comes from outside becomes text, never markup.

export const byId = (id) => document.getElementById(id)

/** Makes an element with a class, and children that are elements or text. */
export function element(name, className, ...children) {
  const e = document.createElement(name)
  if (className) e.className = className
  e.append(...children.map((c) => (c instanceof Node ? c : visible(c))))
  return e
}

/** Shows what would change how the text around it is read: control and direction characters. */
const visible = (v) => String(v).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) => `\\u{${c.codePointAt(0).toString(16)}}`)

const isNumber = (v) => typeof v === 'number'
const format = (v) => (isNumber(v) ? number(v) : v)

/** A table in a box that scrolls, for the keyboard as well. Numbers stand on the right. */
export function table(caption, columns, rows) {
  const head = element('tr', '', ...columns.map((c, i) => {
    const th = element('th', rows.length > 0 && isNumber(cells(rows[0])[i]) ? 'number' : '', c)
    th.scope = 'col'
    return th
  }))
  const t = element('table', '', element('caption', '', caption), element('thead', '', head), element('tbody', '', ...rows.map(row)))
  const box = element('div', 'table', t)
  box.tabIndex = 0
  box.setAttribute('role', 'region')
  box.setAttribute('aria-label', caption)
  if (rows.length === 0) box.append(element('p', 'none', 'none'))
  return box
}

const cells = (r) => (Array.isArray(r) ? r : r.cells)

/** A row of cells, or of {cells, bad}. */
export const row = (r) => element('tr', r.bad ? 'bad' : '', ...cells(r).map((c) => element('td', isNumber(c) ? 'number' : 'name', format(c))))

/** Puts what is new in the place of what an element has, unless that is the same: who selects or scrolls there is not disturbed. */
export function show(id, ...children) {
  const old = byId(id)
  if (old.childNodes.length === children.length && children.every((c, i) => c.isEqualNode(old.childNodes[i]))) return
  const at = [...old.querySelectorAll('.table')].map((t) => [t.scrollLeft, t.scrollTop])
  const focused = [...old.querySelectorAll('.table')].indexOf(document.activeElement)
  old.replaceChildren(...children)
  old.querySelectorAll('.table').forEach((t, i) => {
    if (at[i]) [t.scrollLeft, t.scrollTop] = at[i]
    if (i === focused) t.focus({ preventScroll: true })
  })
}

/** A number that is read at a glance. */
export const number = (n) => (Math.abs(n) >= 100 || Number.isInteger(n) ? Math.round(n).toLocaleString('en') : n.toPrecision(2))

export function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let i = 0
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024
  return `${number(n)} ${units[i]}`
}

/** A line of values through time. */
export function spark(values) {
  const ns = 'http://www.w3.org/2000/svg'
  const svg = document.createElementNS(ns, 'svg')
  svg.setAttribute('viewBox', `0 0 ${values.length - 1 || 1} 1`)
  svg.setAttribute('preserveAspectRatio', 'none')
  svg.setAttribute('aria-hidden', 'true')
  const top = Math.max(...values, 1e-9) * 1.1
  const line = document.createElementNS(ns, 'polyline')
  line.setAttribute('points', values.map((v, i) => `${i},${(1 - v / top).toFixed(3)}`).join(' '))
  svg.append(line)
  return svg
}
