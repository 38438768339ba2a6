/**
 * The client of juggler: calls and events over one WebSocket.
 *
 * @packageDocumentation
 */
export { Client, CoreClient } from './api.js';
export { isBlocked } from './blocked.js';
export { withKey } from './keyed.js';
export { members } from './members.js';
export { onServer, withServer } from './server.js';
export { withState } from './state.js';
export { stream } from './stream.js';
export type { ReadState } from './state.js';
export { JugglerError } from './error.js';
export type { ErrorDetails, Outcome } from './error.js';
export type { ClientConstructor, CoreClientConstructor, CoreSubscription, Members, Stream, Subscription } from './api.js';
export type * from './types.js';
