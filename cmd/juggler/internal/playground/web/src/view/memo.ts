import { Component, type FunctionComponent, h } from 'preact';

/** A component that is rendered anew only for other props: there are hundreds of it. */
export function memo<P extends object>(Of: FunctionComponent<P>): new () => Component<P> {
  return class extends Component<P> {
    override shouldComponentUpdate(next: Readonly<P>): boolean {
      return Object.entries(next).some(([name, value]) => value !== this.props[name as keyof P]);
    }
    render(props: P) {
      return h(Of, props as never);
    }
  };
}
