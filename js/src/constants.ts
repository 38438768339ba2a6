// What is fixed in the client: waits, in ms, bounds, and what it says of itself.
// Only in a file that imports nothing do bundlers put them where they are used.

/** The subprotocol that the client speaks. */
export const PROTOCOL = 'juggler.1';

/** How long a server that has agreed on no subprotocol may take to prove that it is one of ours. */
export const DOUBT_WAIT = 1_000;

/** How long a server may take to answer a sign of life. */
export const PROBE_WAIT = 5_000;

/** How much may be sent on a link and have no answer, in characters. */
export const UNANSWERED = 1 << 20;

/** The code with which the client closes a connection that it gives up. */
export const GIVE_UP = 4000;

/** How long after a try that failed connect() does not try at once. */
export const HURRY = 1_000;

/** How long after the network or the page came back its lost connection may tell of its end. */
export const WOKEN = 6_000;

/** A connection that lasted this long was a good one: the pauses between tries begin anew. */
export const STABLE = 10_000;

/** How late the next try may be before whoever wants a connection makes it. */
export const OVERDUE = 1_000;

/** How many publications may be sent and not answered. The server says how many calls. */
export const PUBLICATIONS = 128;

/** How long a topic stays on a link that is left, after it was confirmed on another. */
export const OVERLAP = 250;

/** How long an answer of the application is waited for, and may wait to be used. */
export const PATIENCE = 60_000;

/** How deep a server takes a message, its own braces included. */
export const MAX_DEPTH = 512;

/** For how long a server knows the key of a publication. */
export const KEY_LIFE = 300_000;
