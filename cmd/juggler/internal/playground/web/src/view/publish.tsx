import { useSignal } from '@preact/signals';
import { asError } from '../calls.js';
import { read } from '../json.js';
import { connection, publish } from '../model.js';
import { settings } from '../settings.js';
import { Json, Send, Text } from './fields.js';
import { ms } from './format.js';

export function PublishForm() {
  const channel = useSignal(settings.channels[0] ?? '');
  const args = useSignal('{"hello": "world"}');
  const outcome = useSignal('');
  const failed = useSignal(false);

  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    const { value, error } = read(args.value);
    if (error !== undefined || connection.refusal.value) return;
    try {
      outcome.value = `published in ${ms(await publish(channel.value, value))}`;
      failed.value = false;
    } catch (cause) {
      const { code, message } = asError(cause);
      outcome.value = `${code} ${message}`;
      failed.value = true;
    }
  };
  return (
    <form aria-label="Publish" onSubmit={(event) => void submit(event)}>
      <Text label="Channel" value={channel} suggest={settings.channels} required />
      <Json label="Args, JSON" value={args} />
      <div class="row end">
        <output class={failed.value ? 'error' : 'note'}>{outcome}</output>
        <Send name="Publish" wrong={read(args.value).error !== undefined} />
      </div>
    </form>
  );
}
