// What the page has: one connection, and what was done on it.
import { signal } from '@preact/signals';
import { Call, type CallRequest } from './calls.js';
import { Connection } from './connection.js';
import { Frames } from './frames.js';
import { Rates } from './rates.js';
import type { Action } from './snippets.js';
import { Subscription, type SubscribeRequest } from './subscriptions.js';

/** How many calls are shown. */
const SHOWN_CALLS = 20;

export const frames = new Frames();
export const rates = new Rates();
export const connection = new Connection(frames);

/** Newest first. */
export const calls = signal<readonly Call[]>([]);
export const subscriptions = signal<readonly Subscription[]>([]);
/** What was done last: the snippets show how programs do it. */
export const action = signal<Action | undefined>(undefined);

frames.onFrame = ({ type, sent }) => rates.count(type, sent);
connection.onReplaced = () => (subscriptions.value = []);

export function call(request: CallRequest): void {
  const made = new Call(connection.open(), request);
  // Those under way stay: only here they can be cancelled.
  const kept = calls.value.filter((call, i) => i < SHOWN_CALLS - 1 || call.progress.value.status === 'running');
  calls.value = [made, ...kept];
  action.value = { kind: 'call', ...request };
}

export function subscribe(request: SubscribeRequest): void {
  subscriptions.value = [new Subscription(connection.open(), request), ...subscriptions.value];
  action.value = { kind: 'subscribe', ...request };
}

export function unsubscribe(subscription: Subscription): void {
  subscription.end();
  subscriptions.value = subscriptions.value.filter((other) => other !== subscription);
}

/** Resolves to how long the server took to take it, in ms. */
export async function publish(channel: string, args: unknown): Promise<number> {
  action.value = { kind: 'publish', channel, args };
  const began = performance.now();
  await connection.open().publish(channel, args);
  return performance.now() - began;
}
