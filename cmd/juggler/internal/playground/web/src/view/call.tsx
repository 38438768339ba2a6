import { useSignal } from '@preact/signals';
import { read } from '../json.js';
import { call, calls, connection } from '../model.js';
import { settings } from '../settings.js';
import { Check, Json, Send, Text, Whole } from './fields.js';

export function CallForm() {
  const uri = useSignal(settings.uris[0] ?? '');
  const args = useSignal('{"hello": "world"}');
  const inParts = useSignal(false);
  const parts = useSignal(32);
  const timeout = useSignal(30_000);
  const key = useSignal('');

  const submit = (event: Event): void => {
    event.preventDefault();
    const { value, error } = read(args.value);
    if (error !== undefined || connection.refusal.value) return;
    call({
      uri: uri.value,
      args: value,
      parts: inParts.value ? parts.value : undefined,
      timeout: timeout.value,
      key: key.value || undefined,
    });
  };
  const suggest = [...new Set([...settings.uris, ...calls.value.map(({ request }) => request.uri)])];
  return (
    <form aria-label="Call" onSubmit={submit}>
      <Text label="URI" value={uri} suggest={suggest} required />
      <Json label="Args, JSON" value={args} />
      <div class="row">
        <Whole label="Timeout, ms" value={timeout} min={1} max={86_400_000} />
        <Text label="Key" value={key} placeholder="none" />
        <Whole label="Parts at a time" value={parts} min={1} max={1_000_000} disabled={!inParts.value} />
      </div>
      <div class="row end">
        <Check label="Answer in parts" value={inParts} />
        <Send name="Call" wrong={read(args.value).error !== undefined} />
      </div>
    </form>
  );
}
