import { useSignal } from '@preact/signals';
import { subscribe } from '../model.js';
import { settings } from '../settings.js';
import { Check, Send, Text, Whole } from './fields.js';

export function SubscribeForm() {
  const channel = useSignal(settings.channels[0] ?? '');
  const pattern = useSignal(false);
  const last = useSignal(0);
  const here = useSignal(false);

  const submit = (event: Event): void => {
    event.preventDefault();
    const exact = !pattern.value;
    subscribe({ channel: channel.value, pattern: pattern.value, last: exact ? last.value : 0, here: exact && here.value });
  };
  return (
    <form aria-label="Subscribe" onSubmit={submit}>
      <Text label={pattern.value ? 'Pattern' : 'Channel'} value={channel} suggest={settings.channels} required />
      <div class="row">
        <Whole label="Last kept events" value={last} min={0} max={1_000_000} disabled={pattern.value} />
        <Check label="Pattern" value={pattern} />
        <Check label="Who is there" value={here} disabled={pattern.value} />
      </div>
      <div class="row end">
        <Send name="Subscribe" />
      </div>
    </form>
  );
}
