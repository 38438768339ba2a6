import { rates } from '../model.js';
import { SECONDS, type Rate } from '../rates.js';

const HEIGHT = 100;

function line(values: readonly number[], most: number): string {
  return values.map((value, i) => `${i},${(HEIGHT - (value / most) * HEIGHT).toFixed(1)}`).join(' ');
}

/** Calls and events in each of the last seconds. */
export function Chart() {
  const seconds = rates.seconds.value;
  const of = (name: keyof Rate): number[] => seconds.map((rate) => rate[name]);
  const [calls, events] = [of('calls'), of('events')];
  const most = Math.max(...calls, ...events, 1);
  const { calls: callsNow, events: eventsNow } = seconds.at(-1)!;
  return (
    <section class="panel chart" aria-label="Rates">
      <dl>
        <div class="calls">
          <dt>calls/s</dt>
          <dd>{callsNow}</dd>
        </div>
        <div class="events">
          <dt>events/s</dt>
          <dd>{eventsNow}</dd>
        </div>
        <div>
          <dt>highest</dt>
          <dd>{Math.max(...calls, ...events)}</dd>
        </div>
      </dl>
      <svg viewBox={`0 -2 ${SECONDS - 1} ${HEIGHT + 4}`} preserveAspectRatio="none" role="img" aria-label={`Calls and events a second in the last ${SECONDS} seconds`}>
        <polygon class="events" points={`0,${HEIGHT} ${line(events, most)} ${SECONDS - 1},${HEIGHT}`} />
        <polyline class="calls" points={line(calls, most)} />
      </svg>
    </section>
  );
}
