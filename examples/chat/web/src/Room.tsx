import { useMembers } from '@juggler-go/client/react';
import { useEffect, useRef, useState, type SubmitEvent } from 'react';
import type { Me } from './App';
import { client, type RoomName } from './client';
import { useRoom, useTyping, useVisible } from './state';

/** What this page sends and has not seen in the room yet. Its key is stored with it: sent twice, it is there once. */
interface Draft {
  key: string;
  text: string;
  failed?: string;
}

export function Room({ me, room, read }: { me: Me; room: RoomName; read: number | undefined }) {
  const { data, error, pending } = useRoom(room);
  const messages = data ?? [];
  const { members = [] } = useMembers(client, `here.${room}`);
  const typing = useTyping(room, me.user);
  const [drafts, setDrafts] = useState<Draft[]>([]);
  const unseen = drafts.filter(({ key }) => !messages.some((m) => m.user === me.user && m.key === key));

  const newest = messages.at(-1)?.id ?? 0;
  const visible = useVisible();
  useEffect(() => {
    if (visible && read !== undefined && newest > read) void client.call(`room.${room}.read`, newest, { idempotent: true }).catch(() => {});
  }, [room, newest, read, visible]);

  const sent = useRef(Promise.resolve()); // one after the other: they keep their order
  const send = (draft: Draft) => {
    setDrafts((drafts) => [...drafts.filter(({ key }) => key !== draft.key), draft]);
    sent.current = sent.current.then(async () => {
      try {
        await client.call(`room.${room}.post`, draft, { idempotent: true, timeout: 60_000 });
        setDrafts((drafts) => drafts.filter((d) => d !== draft));
      } catch (error) {
        setDrafts((drafts) => drafts.map((d) => (d === draft ? { ...d, failed: (error as Error).message } : d)));
      }
    });
  };

  return (
    <main>
      <header>
        <h2>{room}</h2>
        <p>Here: {members.map(({ user }) => user).join(', ')}</p>
      </header>
      {error && <p role="alert">{error.message}</p>}
      <div className="messages" role="log" aria-label={`Messages in ${room}`} aria-busy={pending} tabIndex={0}>
        <div>
          {messages.length + unseen.length === 0 && !pending && <p>Nobody has said anything yet.</p>}
          {messages.map(({ id, user, text, at }) => (
            <article key={id} className={user === me.user ? 'mine' : ''}>
              <h3>{user}</h3> <time dateTime={new Date(at).toISOString()}>{new Date(at).toLocaleTimeString([], { timeStyle: 'short' })}</time>
              <p>{text}</p>
            </article>
          ))}
          {unseen.map((draft) => (
            <article key={draft.key} className="mine draft">
              <p>{draft.text}</p>
              {draft.failed && <p role="alert">Not sent: {draft.failed} <button onClick={() => send({ ...draft, failed: undefined })}>Send again</button></p>}
            </article>
          ))}
        </div>
      </div>
      <p className="typing">{typing.length > 0 && `${typing.join(', ')} ${typing.length > 1 ? 'are' : 'is'} typing…`}</p>
      <Composer room={room} user={me.user} send={(text) => send({ key: crypto.randomUUID(), text })} />
    </main>
  );
}

function Composer({ room, user, send }: { room: string; user: string; send: (text: string) => void }) {
  const told = useRef(0);
  const tell = () => {
    if (Date.now() - told.current < 2000) return;
    told.current = Date.now();
    void client.publish(`typing.${room}.${user}`, true, { wait: false }).catch(() => {}); // it is of no use later
  };
  const submit = (event: SubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    const text = String(new FormData(event.currentTarget).get('text')).trim();
    if (text) send(text);
    event.currentTarget.reset();
    told.current = 0;
  };
  return (
    <form className="composer" onSubmit={submit}>
      <input name="text" aria-label={`Message to ${room}`} placeholder="Message" autoComplete="off" maxLength={1000} onInput={tell} />
      <button>Send</button>
    </form>
  );
}
