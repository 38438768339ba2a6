import { useConnection } from '@juggler-go/client/react';
import { useEffect, useState, type SubmitEvent } from 'react';
import { Answer } from './Answer';
import { client, type RoomName } from './client';
import { Report } from './Report';
import { Room } from './Room';
import { useReads, useRoom } from './state';

/** Who has signed in. */
export interface Me {
  user: string;
  rooms: RoomName[];
}

export function App() {
  const [me, setMe] = useState<Me | null>(); // undefined: not known yet
  const load = async () => setMe(await (await fetch('/me')).json());
  useEffect(() => {
    void load();
    return client.on('refused', load); // the cookie is too old
  }, []);
  const signOut = async () => {
    await fetch('/logout', { method: 'POST' });
    await client.close();
    setMe(null);
  };
  if (me === undefined) return <p>Loading…</p>;
  return me ? <Chat me={me} signOut={signOut} /> : <Login done={load} />;
}

function Login({ done }: { done: () => Promise<void> }) {
  const [problem, setProblem] = useState('');
  const signIn = async (event: SubmitEvent<HTMLFormElement>) => {
    event.preventDefault();
    const answer = await fetch('/login', { method: 'POST', body: new URLSearchParams(new FormData(event.currentTarget) as never) });
    if (!answer.ok) return setProblem(await answer.text());
    await done();
    client.connect(); // it may have been refused before
  };
  return (
    <main className="login">
      <h1>Chat</h1>
      <form onSubmit={signIn}>
        <label>
          Name <input name="name" required autoComplete="username" autoFocus />
        </label>
        <label>
          Password <input name="password" type="password" required autoComplete="current-password" />
        </label>
        <p role="alert">{problem}</p>
        <button>Sign in</button>
      </form>
      <p>There are ann, bob and eve, each with the name as the password. Eve may not enter the room “staff”.</p>
    </main>
  );
}

function Chat({ me, signOut }: { me: Me; signOut: () => void }) {
  const [room, setRoom] = useState(me.rooms[0]!);
  const { status } = useConnection(client);
  const reads = useReads(me.user);
  return (
    <div className="chat">
      <header>
        <h1>Chat</h1>
        <p role="status">{status === 'open' ? '' : 'Connecting…'}</p>
        <span>{me.user}</span>
        <button onClick={signOut}>Sign out</button>
      </header>
      <nav aria-label="Rooms">
        {me.rooms.map((name) => (
          <button key={name} aria-current={name === room} onClick={() => setRoom(name)}>
            <RoomLabel me={me} room={name} read={reads?.[name] ?? 0} />
          </button>
        ))}
      </nav>
      <Room key={room} me={me} room={room} read={reads ? (reads[room] ?? 0) : undefined} />
      <aside aria-label="Tools">
        <Answer user={me.user} />
        <Report key={room} room={room} />
      </aside>
    </div>
  );
}

/** A room's name, and how many messages of others nobody has read on any device of the user. */
function RoomLabel({ me, room, read }: { me: Me; room: RoomName; read: number }) {
  const unread = useRoom(room).data?.filter(({ id, user }) => id > read && user !== me.user).length ?? 0;
  return (
    <>
      {room} {unread > 0 && <span className="unread">{unread}<span className="hidden"> unread</span></span>}
    </>
  );
}
