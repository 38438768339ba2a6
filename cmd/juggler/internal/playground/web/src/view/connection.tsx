import { connection } from '../model.js';
import { Text } from './fields.js';

/** What the state is called, and what is known besides. */
function describe(): [name: string, detail: string] {
  const state = connection.state.value;
  switch (state.status) {
    case 'open':
      return ['connected', `session ${state.session}`];
    case 'waiting':
      return ['waiting', state.error.message];
    case 'closed':
      return state.error ? ['refused', `${state.error.code} ${state.error.message}`] : ['not connected', ''];
    default:
      return [state.status, ''];
  }
}

export function ConnectionBar() {
  const { status } = connection.state.value;
  const [name, detail] = describe();
  const refusal = connection.refusal;
  const submit = (event: Event): void => {
    event.preventDefault();
    if (status === 'open' || status === 'connecting') connection.close();
    else if (!refusal) connection.open();
  };
  return (
    <header>
      <h1>
        <img src="icon.svg" alt="" width="22" height="22" /> juggler <span>playground</span>
      </h1>
      <form class="connect" aria-label="Connection" onSubmit={submit}>
        <Text label="URL" type="url" value={connection.url} required error={refusal} />
        <Text label="Token" type="password" value={connection.token} placeholder="none" />
        <button class={status === 'open' ? '' : 'primary'}>{status === 'open' || status === 'connecting' ? 'Disconnect' : 'Connect'}</button>
      </form>
      <p class={`state ${status}`} role="status">
        <b>{name}</b> <span title={detail}>{detail}</span>
      </p>
    </header>
  );
}
