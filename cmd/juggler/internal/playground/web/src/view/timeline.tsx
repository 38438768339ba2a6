import { useComputed, useSignal } from '@preact/signals';
import { filter } from '../filter.js';
import type { Frame } from '../frames.js';
import { pretty } from '../json.js';
import { frames } from '../model.js';
import { CopyButton } from './copy.js';
import { clock, ms } from './format.js';
import { memo } from './memo.js';
import { useStayAtEnd } from './stay.js';

/** How many lines are in the page: more would slow it down, and nobody reads them. */
const SHOWN = 300;

const asText = ({ at, sent, text, type, subject }: Frame): string =>
  `${clock(at)} ${sent ? '→' : '←'} ${text || `${type} ${subject}`}`;

/** The frames in both directions, oldest first. */
export function Timeline() {
  const words = useSignal('');
  /** What was there when it was paused. */
  const paused = useSignal<readonly Frame[] | undefined>(undefined);
  const matching = useComputed(() => (paused.value ?? frames.shown.value).filter(filter(words.value)));
  const shown = matching.value.slice(-SHOWN);
  return (
    <section class="panel timeline" aria-label="Timeline">
      <div class="bar">
        <h2>Frames</h2>
        <input
          type="search"
          aria-label="Filter frames"
          placeholder="filter: words, -word, sent, received"
          spellcheck={false}
          autocapitalize="off"
          value={words.value}
          onInput={(event) => (words.value = event.currentTarget.value)}
        />
        <small class="count">
          {shown.length} of {frames.shown.value.length}
        </small>
        <button type="button" aria-pressed={!!paused.value} onClick={() => (paused.value = paused.value ? undefined : frames.shown.value)}>
          Pause
        </button>
        <CopyButton what="the frames that are shown" text={() => shown.map(asText).join('\n')} />
        <button type="button" onClick={() => frames.clear()}>
          Clear
        </button>
      </div>
      <Lines frames={shown} />
    </section>
  );
}

function Lines({ frames: shown }: { readonly frames: readonly Frame[] }) {
  return (
    <ol class="lines" aria-label="Frames, oldest first" {...useStayAtEnd<HTMLOListElement>(shown)}>
      {shown.length === 0 && <li class="empty">Every message that is sent and received is shown here.</li>}
      {shown.map((frame) => (
        <Line key={frame.n} frame={frame} />
      ))}
    </ol>
  );
}

const Line = memo(({ frame }: { readonly frame: Frame }) => {
  const { at, sent, type, subject, took, text } = frame;
  const open = useSignal(false);
  return (
    <li class={sent ? 'sent' : 'received'}>
      <details onToggle={(event) => (open.value = event.currentTarget.open)}>
        <summary>
          <time>{clock(at)}</time>
          <span class="direction" role="img" aria-label={sent ? 'sent' : 'received'}>
            {sent ? '→' : '←'}
          </span>
          <b>{type}</b>
          <span class="subject">{subject}</span>
          <span class="took">{took !== undefined && ms(took)}</span>
          <code>{text.slice(0, 300)}</code>
        </summary>
        {open.value && (
          <div class="outcome">
            <pre>{pretty(text) || subject}</pre>
            <CopyButton what="frame" text={() => text} />
          </div>
        )}
      </details>
    </li>
  );
});
