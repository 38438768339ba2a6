/** How long changes wait for more: to show each of thousands a second would show none. */
const WAIT = 60;

/** Has `act` happen once, soon after it was first asked for. */
export function soon(act: () => void): () => void {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    setTimeout(() => {
      asked = false;
      act();
    }, WAIT);
  };
}
