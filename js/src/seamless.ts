import type { JugglerError } from './error.js';
import type { Link, ServerMessage } from './link.js';
import { Topic } from './topic.js';

/** How long a topic stays on a link that is left, after it was confirmed on another. In ms. */
const OVERLAP = 250;

/**
 * A topic that moves to another link without a gap, where the server asks to
 * leave the one it is on. Once both are confirmed, both bring events for a
 * while. The old one's are delivered and the new one's wait, until one event
 * has come on both: from then on the new one brings all. Without any event the
 * old one is left after a time that is enough for what was on its way. So
 * there is no gap, no repetition and no change of order.
 */
export class SeamlessTopic extends Topic {
  /** While it moves to another link: what waits from the new one. */
  private _held: ServerMessage[] | undefined;
  /** The ids of the events that the old link brought, and the new one may bring again. */
  private _seen = new Set<unknown>();
  /** Both links are confirmed. */
  private _overlapping = false;

  /** An event that comes from now on may come again on the new link, where the server may be slower than the old one. */
  override _prepare(): void {
    // The next move comes before the end of the last.
    if (this._overlapping) this._moveTo(this._askedOn!, true);
    this._seen.clear();
    this._held = this._link && [];
  }

  protected override _leave(): void {
    if (this._overlapping || !this._held) this._prepare();
  }

  override _deliver(link: Link, message: ServerMessage): void {
    const { id } = message;
    if (link === this._link) {
      if (this._held) this._seen.add(id);
      else if (this._seen.delete(id)) return;
      super._deliver(link, message);
    } else if (link === this._askedOn) this._held?.push(message);
    if (this._overlapping && this._seen.has(id) && this._held?.some((held) => held.id === id)) {
      this._moveTo(this._askedOn!, false);
    }
  }

  override _linkEnded(link: Link): void {
    // What the old one had still to bring is lost.
    if (this._overlapping && link === this._link) return this._moveTo(this._askedOn!, true);
    if (link === this._askedOn || link === this._link) {
      this._held = undefined;
      this._overlapping = false;
    }
    super._linkEnded(link);
  }

  protected override _refused(error: JugglerError): void {
    this._held = undefined;
    super._refused(error);
  }

  protected override _confirmed(link: Link): void {
    if (!this._link) return super._confirmed(link);
    this._overlapping = true;
    this._timer._set(OVERLAP, () => this._moveTo(link, false));
  }

  protected override _moveTo(link: Link, gap: boolean): void {
    const old = this._link;
    const held = this._held ?? [];
    this._held = undefined;
    this._overlapping = false;
    super._moveTo(link, gap, () => {
      for (const message of held) this._deliver(link, message);
      if (old) this._unsubscribe(old);
    });
  }
}
