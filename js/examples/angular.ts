// Angular: a service whose signals follow the client, outside of zones.
import { Injectable, signal, type OnDestroy, type Signal } from '@angular/core';
import { Client, type JugglerEvent } from '@juggler-go/client';
import { Observable } from 'rxjs';
import type { App } from './contract.js';

@Injectable({ providedIn: 'root' })
export class Realtime implements OnDestroy {
  readonly #client = new Client<App>('ws://127.0.0.1:8080/');
  readonly #status = signal(this.#client.state.status);
  readonly #off = this.#client.on('state', ({ status }) => this.#status.set(status));

  /** The connection's state, for templates. */
  readonly status: Signal<string> = this.#status.asReadonly();

  reverse(text: string): Promise<string> {
    return this.#client.call('test.reverse', text);
  }

  /** The events of a room, while somebody is subscribed to the observable. */
  chat(room: string): Observable<JugglerEvent<{ from: string; text: string }>> {
    return new Observable((observer) => {
      const subscription = this.#client.subscribe(
        `chat.${room}`,
        { onError: (error) => observer.error(error) },
        (event) => observer.next(event),
      );
      return subscription.unsubscribe;
    });
  }

  ngOnDestroy(): void {
    this.#off();
    void this.#client.close();
  }
}
