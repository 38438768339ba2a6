import type { ComponentChildren } from 'preact';
import { useId, useRef, useState } from 'preact/hooks';

interface Props {
  readonly label: string;
  /** What is behind each name. What is not shown keeps what was typed. */
  readonly tabs: Readonly<Record<string, ComponentChildren>>;
  /** What stands behind the names. */
  readonly children?: ComponentChildren;
}

/** Tabs as the ARIA practices have them: the arrow keys, Home and End move among the names. */
export function Tabs({ label, tabs, children }: Props) {
  const names = Object.keys(tabs);
  const [chosen, choose] = useState(names[0]!);
  const id = useId();
  const list = useRef<HTMLDivElement>(null);

  const move = (event: KeyboardEvent): void => {
    const at = names.indexOf(chosen);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = (to + names.length) % names.length;
    choose(names[next]!);
    (list.current!.children[next] as HTMLElement).focus();
  };

  return (
    <>
      <div class="tabs">
        <div role="tablist" aria-label={label} ref={list} onKeyDown={move}>
          {names.map((name) => (
            <button
              key={name}
              type="button"
              role="tab"
              id={`${id}-tab-${name}`}
              aria-controls={`${id}-${name}`}
              aria-selected={name === chosen}
              tabIndex={name === chosen ? 0 : -1}
              onClick={() => choose(name)}
            >
              {name}
            </button>
          ))}
        </div>
        {children}
      </div>
      {names.map((name) => (
        <div key={name} role="tabpanel" id={`${id}-${name}`} aria-labelledby={`${id}-tab-${name}`} hidden={name !== chosen}>
          {tabs[name]}
        </div>
      ))}
    </>
  );
}
