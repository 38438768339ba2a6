import { useLayoutEffect, useRef } from 'preact/hooks';

/** Props of a list that stays at its end when it grows, unless somebody has scrolled away from it. */
export function useStayAtEnd<E extends HTMLElement>(shown: unknown) {
  const list = useRef<E>(null);
  const atEnd = useRef(true);
  useLayoutEffect(() => {
    if (atEnd.current && list.current) list.current.scrollTop = list.current.scrollHeight;
  }, [shown]);
  const onScroll = ({ currentTarget: { scrollTop, clientHeight, scrollHeight } }: { currentTarget: HTMLElement }): void => {
    atEnd.current = scrollTop + clientHeight > scrollHeight - 24;
  };
  return { ref: list, onScroll, tabIndex: 0 };
}
