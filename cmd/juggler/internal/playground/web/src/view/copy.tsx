import { useSignal } from '@preact/signals';

/** Copies text, also where the page came without TLS and has no clipboard of its own. */
async function copy(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.body.appendChild(document.createElement('textarea'));
  area.value = text;
  area.select();
  document.execCommand('copy');
  area.remove();
}

export function CopyButton({ what, text }: { readonly what: string; readonly text: () => string }) {
  const copied = useSignal(false);
  const act = async (): Promise<void> => {
    await copy(text());
    copied.value = true;
    setTimeout(() => (copied.value = false), 1_500);
  };
  return (
    <button type="button" class="copy" aria-label={`Copy ${what}`} onClick={() => void act()}>
      {copied.value ? 'Copied' : 'Copy'}
    </button>
  );
}
