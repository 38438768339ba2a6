import type { Frame } from './frames.js';

/** Makes a test of frames out of words: each must occur in them, and those behind a minus must not. */
export function filter(text: string): (frame: Frame) => boolean {
  const words = text.toLowerCase().split(/\s+/).filter((word) => word && word !== '-');
  if (words.length === 0) return () => true;
  return ({ sent, type, subject, text }) => {
    const all = `${sent ? 'sent' : 'received'} ${type} ${subject} ${text}`.toLowerCase();
    return words.every((word) => (word.startsWith('-') ? !all.includes(word.slice(1)) : all.includes(word)));
  };
}
