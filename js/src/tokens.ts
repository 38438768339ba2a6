import { checkToken } from './check.js';
import { now } from './time.js';
import type { ClientOptions } from './types.js';

/** How long an answer of the application is waited for, and may wait to be used. In ms. */
const PATIENCE = 60_000;

/** A token, null for a guest, and when it was asked for. */
export type Token = readonly [token: string | null | undefined, askedAt: number];

/**
 * The tokens of the application, which is asked for one at a time, whatever
 * connections come and go: two that use the same refresh token would end the
 * user's session. Each token goes to one connection; one that came too late for
 * the connection that wanted it waits for the next.
 */
export class Tokens {
  #auth: NonNullable<ClientOptions['auth']>;
  #answer: Promise<Token> | undefined;
  #askedAt = 0;
  /** The answer is that there is none, and nobody was there to take it. */
  #failed = false;
  /** What was asked for before the client stopped, and must come before the next is asked for. */
  #before: Promise<Token> | undefined;

  constructor(auth: NonNullable<ClientOptions['auth']>) {
    this.#auth = auth;
  }

  /** A connection is being opened that will want one. */
  prepare(): void {
    if (this.#failed) this.#answer = undefined;
    void this.#ask();
  }

  /** A token. `wanted` says, once there is one, whether it is still of use. */
  async take(wanted: () => boolean): Promise<Token> {
    for (;;) {
      const answer = this.#ask();
      const token = await answer.catch((error: unknown) => {
        this.#use(answer);
        throw error;
      });
      if (!wanted() || this.#use(answer)) return token;
    }
  }

  /** False: somebody else has used it. */
  #use(answer: Promise<Token>): boolean {
    if (this.#answer !== answer) return false;
    this.#answer = undefined;
    return true;
  }

  /** The client has stopped: whoever connects next may be another user. */
  forget(): void {
    this.#before = this.#answer ?? this.#before;
    this.#answer = undefined;
  }

  #ask(): Promise<Token> {
    const askedAt = now();
    if (this.#answer && askedAt - this.#askedAt < PATIENCE) return this.#answer;
    this.#askedAt = askedAt;
    const answer = (this.#answer = this.#answerTo(askedAt, this.#before));
    this.#before = undefined;
    this.#failed = false;
    answer.catch(() => (this.#failed ||= this.#answer === answer));
    return answer;
  }

  async #answerTo(askedAt: number, before: Promise<Token> | undefined): Promise<Token> {
    if (before) await before.catch(() => {});
    const token = await this.#auth();
    checkToken(token);
    return [token, askedAt];
  }
}
