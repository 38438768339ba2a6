import { JugglerError, stream, withKey, type Client } from '@juggler-go/client';
import { signal } from '@preact/signals';
import { soon } from './soon.js';

/** What a call is made with. */
export interface CallRequest {
  readonly uri: string;
  /** Undefined: none. */
  readonly args: unknown;
  /** How many parts may be on their way; undefined: the answer is to come whole. */
  readonly parts: number | undefined;
  /** In ms. */
  readonly timeout: number;
  /** Undefined: a call without a key. */
  readonly key: string | undefined;
}

/** How many of the newest parts are shown. */
const SHOWN_PARTS = 50;

/** What is known of a call. */
export interface Progress {
  readonly status: 'running' | 'done' | 'failed';
  /** The newest parts. */
  readonly parts: readonly unknown[];
  readonly count: number;
  /** In ms, once it is over. */
  readonly took?: number;
  readonly result?: unknown;
  readonly error?: JugglerError;
}

let made = 0;

/** A call, under way or over. */
export class Call {
  readonly n = ++made;
  readonly progress = signal<Progress>({ status: 'running', parts: [], count: 0 });
  private began = performance.now();
  private controller = new AbortController();
  private parts: unknown[] = [];
  private count = 0;
  private showParts = soon(() => {
    if (this.progress.value.status === 'running') this.progress.value = { ...this.progress.value, ...this.came() };
  });

  constructor(
    client: Client,
    readonly request: CallRequest,
  ) {
    this.make(client).then(
      (result) => this.end({ status: 'done', result }),
      (cause: unknown) => this.end({ status: 'failed', error: asError(cause) }),
    );
  }

  /** Ends it, at its callee too. */
  cancel(): void {
    this.controller.abort(new JugglerError(499, 'cancelled'));
  }

  private async make(client: Client): Promise<unknown> {
    const { uri, args, parts, timeout, key } = this.request;
    const { signal } = this.controller;
    // With a key it goes on without this page unless it is stopped.
    const options = key ? withKey(key, { timeout, stop: signal }) : { timeout, signal };
    if (parts === undefined) return client.call(uri, args, options);
    const answer = stream(client, uri, args, { ...options, parts });
    for await (const part of answer) {
      this.parts = [...this.parts.slice(1 - SHOWN_PARTS), part];
      this.count++;
      this.showParts();
    }
    return answer.result;
  }

  private came(): Pick<Progress, 'parts' | 'count'> {
    return { parts: this.parts, count: this.count };
  }

  private end(outcome: Pick<Progress, 'status' | 'result' | 'error'>): void {
    this.progress.value = { ...outcome, ...this.came(), took: performance.now() - this.began };
  }
}

export const asError = (cause: unknown): JugglerError => (JugglerError.is(cause) ? cause : new JugglerError(400, String(cause)));
