import { render } from 'preact';
import { rates } from './model.js';
import { App } from './view/app.js';
import './style.css';

setInterval(() => rates.tick(), 1_000);
render(<App />, document.body);
