import { protocols } from '../connection.js';
import { connection } from '../model.js';
import { Choice, Text } from './fields.js';

/** What the state is called, and what is known besides. */
function describe(): [name: string, detail: string] {
  const state = connection.state.value;
  switch (state.status) {
    case 'open':
      return ['connected', state.session === '?' ? '' : `session ${state.session}`]; // juggler.0 does not tell
    case 'waiting':
      return ['waiting', state.error.message];
    case 'closed':
      return state.error ? ['refused', `${state.error.code} ${state.error.message}`] : ['not connected', ''];
    default:
      return [state.status, ''];
  }
}

export function ConnectionBar() {
  const [name, detail] = describe();
  const connected = connection.current.value;
  const refusal = connection.refusal.value;
  const submit = (event: Event): void => {
    event.preventDefault();
    if (connected) connection.close();
    else if (!refusal) connection.open();
  };
  return (
    <header>
      <h1>
        <img src="icon.svg" alt="" width="22" height="22" /> juggler <span>playground</span>
      </h1>
      <form class="connect" aria-label="Connection" onSubmit={submit}>
        <Text label="URL" type="url" value={connection.url} required error={refusal} />
        <Choice label="Protocol" value={connection.protocol} of={protocols} />
        <Text label="Token" type="password" value={connection.token} placeholder="none" disabled={connection.protocol.value === 'juggler.0'} />
        <button class={connected ? '' : 'primary'}>{connected ? 'Disconnect' : 'Connect'}</button>
      </form>
      <p class={`state ${connection.state.value.status}`} role="status">
        <b>{name}</b> <span title={detail}>{detail}</span>
      </p>
    </header>
  );
}
