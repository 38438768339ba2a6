// The entry of dist/juggler.min.js, for a plain <script>: `new juggler.Client(…)`.
import { Client, JugglerError } from './index.js';

Object.assign(globalThis, { juggler: { Client, JugglerError } });
