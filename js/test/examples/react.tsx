import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { Chat } from '../../examples/react.js';

createRoot(document.querySelector('main')!).render(
  <StrictMode>
    <Chat room="go" />
  </StrictMode>,
);
