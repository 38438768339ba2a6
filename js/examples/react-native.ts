// React Native: there is no page to become visible, so the app says when it
// has come to the foreground. The client then checks its connection, which the
// system may have cut, and opens a new one without waiting.
import { Client } from '@juggler-go/client';
import type { App } from './contract.js';

/** The part of React Native's AppState that is used here. */
interface AppState {
  addEventListener(type: 'change', listener: (state: string) => void): { remove(): void };
}

export function connectInForeground(client: Client<App>, appState: AppState): () => void {
  const subscription = appState.addEventListener('change', (state) => {
    if (state === 'active') client.connect();
  });
  return () => subscription.remove();
}
