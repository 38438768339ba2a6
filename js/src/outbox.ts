import type { Link } from './link.js';
import type { Request } from './request.js';

/** How many publications may be sent and not answered. The server says how many calls. */
const PUBLICATIONS = 128;

/**
 * What waits to be sent: for a link, for room, for a server that said when to
 * try again. Publications keep their order, whatever the server makes of each:
 * none is sent while an earlier one waits, or is unanswered on another link.
 */
export class Outbox {
  /** Both in the order in which the application made them. */
  #calls: Request[] = [];
  #publications: Request[] = [];
  /** Publications that are sent and not answered. */
  #sent = new Set<Request>();
  /** The server has put one off: they go one by one, until none waits, as it may put off any. */
  #careful = false;
  #whenDrained: (() => void)[] = [];
  /** The length of what waits. */
  size = 0;

  get length(): number {
    return this.#calls.length + this.#publications.length;
  }

  get all(): Request[] {
    return [...this.#calls, ...this.#publications];
  }

  add(request: Request): void {
    this.#sent.delete(request);
    const list = this.#listOf(request);
    let at = list.length;
    while (at && list[at - 1]!.turn > request.turn) at--;
    list.splice(at, 0, request);
    this.size += request.fields.length;
  }

  /** The server has put off a request that was sent. */
  putOff(request: Request): void {
    this.#careful ||= request.type === 'PUB';
    this.add(request);
  }

  /** A publication was taken. Earlier ones that were put off can no longer come before it. */
  taken(request: Request): void {
    for (const earlier of this.#publications.filter(({ turn }) => turn < request.turn)) earlier.overtaken();
  }

  /** A request waits no longer, for an answer neither. */
  remove(request: Request): void {
    this.#sent.delete(request);
    const list = this.#listOf(request);
    const at = list.indexOf(request);
    if (at < 0) return;
    list.splice(at, 1);
    this.size -= request.fields.length;
  }

  /** Sends what can be sent on a link. */
  flush(link: Link | undefined): void {
    for (let next; link?.usable && (next = this.#next(link)); ) {
      this.remove(next);
      if (next.type === 'PUB') this.#sent.add(next);
      if (!next.sendOn(link)) return this.add(next);
    }
    this.#careful &&= !!(this.#publications.length || this.#sent.size);
    if (!this.length) for (const resolve of this.#whenDrained.splice(0)) resolve();
  }

  /** Resolves once nothing waits. */
  drained(): Promise<void> {
    return new Promise((resolve) => (this.length ? this.#whenDrained.push(resolve) : resolve()));
  }

  #next(link: Link): Request | undefined {
    const call = link.calls < link.maxCalls ? this.#calls.find(({ resting }) => !resting) : undefined;
    const publication = this.#nextPublication(link);
    const next = call && !(publication && publication.turn < call.turn) ? call : publication;
    return next && link.hasRoom(next.fields.length) ? next : undefined;
  }

  #nextPublication(link: Link): Request | undefined {
    const [next] = this.#publications;
    const [sent] = this.#sent;
    const blocked = !next || next.resting || this.#sent.size >= PUBLICATIONS || (sent && (this.#careful || sent.link !== link));
    return blocked ? undefined : next;
  }

  #listOf(request: Request): Request[] {
    return request.type === 'CALL' ? this.#calls : this.#publications;
  }
}
