import '@angular/compiler'; // compiles the template in the browser
import { Component, DestroyRef, inject, signal } from '@angular/core';
import { bootstrapApplication } from '@angular/platform-browser';
import { Realtime } from '../../examples/angular.js';

@Component({
  selector: 'main',
  template: `
    <h1>{{ title() }}</h1>
    <p>{{ status() }}</p>
    @for (line of lines(); track $index) {
      <p>{{ line }}</p>
    }
  `,
})
class Chat {
  readonly #realtime = inject(Realtime);
  readonly status = this.#realtime.status;
  readonly title = signal('');
  readonly lines = signal<string[]>([]);

  constructor() {
    void this.#realtime.reverse('go').then((title) => this.title.set(title));
    const events = this.#realtime.chat('go').subscribe(({ args }) => {
      this.lines.update((lines) => [...lines, `${args.from}: ${args.text}`]);
    });
    inject(DestroyRef).onDestroy(() => events.unsubscribe());
  }
}

await bootstrapApplication(Chat);
