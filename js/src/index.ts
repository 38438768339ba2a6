/**
 * The client of juggler: calls and events over one WebSocket.
 *
 * @packageDocumentation
 */
export { Client } from './client.js';
export { JugglerError } from './error.js';
export type { ErrorDetails, Outcome } from './error.js';
export type { Subscription } from './subscription.js';
export type * from './types.js';
