import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { Room } from './Room.js';

createRoot(document.querySelector('main')!).render(
  <StrictMode>
    <Room />
  </StrictMode>,
);
