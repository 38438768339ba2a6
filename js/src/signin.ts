import { PATIENCE } from './constants.js';
import { checkToken } from './check.js';
import { JugglerError, positive } from './error.js';
import { fieldsOf, type Link } from './link.js';
import { now } from './time.js';
import type { ClientOptions } from './types.js';

/** A token, null for a guest, and when it was asked for. */
type Token = readonly [token: string | null | undefined, askedAt: number];

/** Whether a code says that somebody is not who he says, or may not. */
const isDenial = (code: unknown): code is number => code === 401 || code === 403;

/**
 * Signs in on links, and renews their credentials. The application is asked
 * for one token at a time, whatever links come and go: two that use the same
 * refresh token would end the user's session. Each token goes to one link; one
 * that came too late for the link that wanted it waits for the next.
 */
export class SignIn {
  private _answer: Promise<Token> | undefined;
  private _askedAt = 0;
  /** The answer is that there is none, and no link was there to take it. */
  private _failed: boolean | undefined;
  /** What was asked for before the client stopped, and must come before the next is asked for. */
  private _before: Promise<Token> | undefined;

  constructor(
    private readonly _auth: NonNullable<ClientOptions['auth']>,
    private readonly _host: { _report(error: JugglerError): void },
  ) {}

  /** A link is being opened that will want a token. */
  _prepare(): void {
    if (this._failed) this._answer = undefined;
    void this._ask();
  }

  /** Signs in, or renews the credentials of a link that has. */
  async _start(link: Link): Promise<void> {
    let token, askedAt: number;
    try {
      [token, askedAt] = await this._take(link);
    } catch (cause) {
      const { code, message } = Object(cause) as Partial<JugglerError>;
      const signedOut = isDenial(code);
      const text = signedOut ? `${message}` : 'could not get a token';
      return this._denied(link, new JugglerError(signedOut ? code : 1006, text, 'refused', { cause }), signedOut);
    }
    if (link._ended) return;
    if (token == null) {
      if (!link._ready) link._becomeReady();
      return;
    }
    link._request({
      _type: 'AUTH',
      _fields: fieldsOf({ token }),
      _settle: (error, answer) => {
        // One that had waited for a connection may have expired meanwhile.
        if (error && isDenial(error.code) && askedAt < link._openedAt) return void this._start(link);
        if (error) return this._denied(link, error, !link._ready && isDenial(error.code));
        link._failedRenewals = 0;
        link._grant = answer;
        const expires = positive(answer['expires'], 0);
        // Early enough for a slow token provider, and for one that fails once.
        if (expires) this._startIn(link, expires - Math.min(30_000, expires / 4));
        if (!link._ready) link._becomeReady();
      },
    });
  }

  private _startIn(link: Link, ms: number): void {
    link._renewal._set(ms, () => void this._start(link));
  }

  /** `final`: the application says that the user is signed out, or the server that he is not allowed. */
  private _denied(link: Link, error: JugglerError, final: boolean): void {
    if (link._ended) return;
    this._host._report(error);
    // A session that has signed in lasts until its credentials expire.
    if (!link._ready || final) link._end(error, final);
    else this._startIn(link, Math.min(60_000, (1_000 + Math.random() * 4_000) * 2 ** link._failedRenewals++));
  }

  /** The client has stopped: whoever connects next may be another user. */
  _forget(): void {
    this._before = this._answer ?? this._before;
    this._answer = undefined;
  }

  /** A token for a link, if that does not end before. */
  private async _take(link: Link): Promise<Token> {
    for (;;) {
      const answer = this._ask();
      const token = await answer.catch((error: unknown) => {
        this._use(answer);
        throw error;
      });
      if (link._ended || this._use(answer)) return token;
    }
  }

  /** False: another link has used it. */
  private _use(answer: Promise<Token>): boolean {
    if (this._answer !== answer) return false;
    this._answer = undefined;
    return true;
  }

  private _ask(): Promise<Token> {
    const askedAt = now();
    if (this._answer && askedAt - this._askedAt < PATIENCE) return this._answer;
    this._askedAt = askedAt;
    const answer = (this._answer = this._answerTo(askedAt, this._before));
    this._before = undefined;
    this._failed = false;
    answer.catch(() => (this._failed ||= this._answer === answer));
    return answer;
  }

  private async _answerTo(askedAt: number, before: Promise<Token> | undefined): Promise<Token> {
    if (before) await before.catch(() => {});
    const token = await this._auth();
    if (typeof process === 'object' && process.env.NODE_ENV !== 'production') checkToken(token);
    return [token, askedAt];
  }
}
