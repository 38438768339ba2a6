import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { inject } from 'vitest';
import { WebSocket } from 'ws';
import { Client, type ClientOptions, type Contract, type State } from '../../src/index.js';

/** What the callees of test/server offer. */
export interface TestContract extends Contract {
  calls: {
    'test.echo': (args: unknown) => unknown;
    'test.add': (args: [number, number]) => number;
    'test.delay': (ms: number) => number;
    'test.wait': () => never;
    'test.count': () => number;
    'test.fail': () => never;
    'test.broken': () => never;
    'test.header': (name: string) => string;
    'test.parts': (last: number) => AsyncGenerator<number, number>;
    'test.paced': (last: number) => AsyncGenerator<number, number>;
    secret: () => never;
    nobody: () => never;
  };
  channels: { [channel: string]: unknown };
}

/** The Go server of test/server in a process of its own. */
export class TestServer {
  #process: ChildProcess | undefined;
  /** `http://127.0.0.1:port` */
  origin = '';

  /** Starts a server; one that was killed comes back at the same address. */
  async start(): Promise<this> {
    const listen = this.origin ? new URL(this.origin).host : '127.0.0.1:0';
    const dist = join(import.meta.dirname, '../../dist');
    const child = spawn(inject('serverBinary'), ['-listen', listen, '-dist', dist], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#process = child;
    const [origin] = await once(createInterface(child.stdout!), 'line');
    this.origin = origin as string;
    return this;
  }

  /** Ends the process as a crash would. */
  async kill(): Promise<void> {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }

  url(path = '/ws'): string {
    return this.origin.replace('http', 'ws') + path;
  }

  async post(path: string): Promise<void> {
    const response = await fetch(this.origin + path, { method: 'POST' });
    if (!response.ok) throw new Error(await response.text());
  }

  async get<T>(path: string): Promise<T> {
    return (await fetch(this.origin + path)).json() as Promise<T>;
  }
}

/** A client in Node, which before version 22 has no WebSocket of its own. */
export function nodeClient(url: string | (() => Promise<string>), options: ClientOptions = {}): Client<TestContract> {
  return new Client<TestContract>(url, {
    WebSocket,
    backoff: { min: 50, max: 200 },
    logger: () => {},
    ...options,
  });
}

/** Resolves once the client's state is this one. */
export function reached<S extends State['status']>(
  client: Client<any>,
  status: S,
): Promise<Extract<State, { status: S }>> {
  return new Promise((resolve) => {
    const look = (): void => {
      if (client.state.status !== status) return;
      off();
      resolve(client.state as Extract<State, { status: S }>);
    };
    const off = client.on('state', look);
    look();
  });
}
