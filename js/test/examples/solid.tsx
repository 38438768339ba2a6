/** @jsxImportSource solid-js */
import { render } from 'solid-js/web';
import { Chat } from '../../examples/solid.js';

render(() => <Chat room="go" />, document.querySelector('main')!);
