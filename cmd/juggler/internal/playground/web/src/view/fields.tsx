import type { Signal } from '@preact/signals';
import type { ComponentChildren } from 'preact';
import { useId } from 'preact/hooks';
import { read } from '../json.js';
import { connection } from '../model.js';

interface FieldProps {
  readonly id: string;
  readonly label: string;
  /** What is said below it, and whether that is an error. */
  readonly note?: string | undefined;
  readonly wrong?: boolean;
  readonly children: ComponentChildren;
}

/** A label with what it is for, which `aria-describedby` leads to the note of. */
function Field({ id, label, note, wrong = false, children }: FieldProps) {
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children}
      {note && (
        <small class={wrong ? 'error' : 'note'} id={`${id}-note`} aria-live="polite">
          {note}
        </small>
      )}
    </div>
  );
}

interface TextProps {
  readonly label: string;
  readonly value: Signal<string>;
  readonly suggest?: readonly string[];
  readonly type?: 'text' | 'password' | 'url';
  readonly required?: boolean;
  readonly placeholder?: string;
  readonly disabled?: boolean;
  readonly error?: string | undefined;
}

/** A line of text. */
export function Text({ label, value, suggest, error, type = 'text', ...input }: TextProps) {
  const id = useId();
  return (
    <Field id={id} label={label} note={error} wrong>
      <input
        id={id}
        type={type as 'text'}
        autocomplete="off"
        autocapitalize="off"
        spellcheck={false}
        {...input}
        {...(suggest && { list: `${id}-list` })}
        value={value.value}
        onInput={(event) => (value.value = event.currentTarget.value)}
        aria-invalid={!!error}
        aria-describedby={error && `${id}-note`}
      />
      {suggest && (
        <datalist id={`${id}-list`}>
          {suggest.map((each) => (
            <option key={each} value={each} />
          ))}
        </datalist>
      )}
    </Field>
  );
}

interface WholeProps {
  readonly label: string;
  readonly value: Signal<number>;
  readonly min: number;
  readonly max: number;
  readonly disabled?: boolean;
}

/** A whole number. */
export function Whole({ label, value, ...bounds }: WholeProps) {
  const id = useId();
  return (
    <Field id={id} label={label}>
      <input id={id} type="number" required {...bounds} value={value.value} onInput={(event) => (value.value = event.currentTarget.valueAsNumber)} />
    </Field>
  );
}

interface ChoiceProps {
  readonly label: string;
  readonly value: Signal<string>;
  readonly of: readonly string[];
}

/** One of a few. */
export function Choice({ label, value, of }: ChoiceProps) {
  const id = useId();
  return (
    <Field id={id} label={label}>
      <select id={id} value={value.value} onChange={(event) => (value.value = event.currentTarget.value)}>
        {of.map((each) => (
          <option key={each}>{each}</option>
        ))}
      </select>
    </Field>
  );
}

/** Sends a form; disabled while the form, or the connection's, has a mistake. */
export function Send({ name, wrong = false }: { readonly name: string; readonly wrong?: boolean }) {
  return (
    <button class="primary" disabled={wrong || connection.refusal.value !== undefined}>
      {name}
    </button>
  );
}

interface CheckProps {
  readonly label: string;
  readonly value: Signal<boolean>;
  readonly disabled?: boolean;
}

export function Check({ label, value, disabled = false }: CheckProps) {
  return (
    <label class="check">
      <input type="checkbox" disabled={disabled} checked={value.value} onChange={(event) => (value.value = event.currentTarget.checked)} />
      <span>{label}</span>
    </label>
  );
}

/** JSON, which is checked while it is typed. Ctrl+Enter sends the form that it is in. */
export function Json({ label, value }: { readonly label: string; readonly value: Signal<string> }) {
  const id = useId();
  const { error } = read(value.value);
  const send = (event: KeyboardEvent & { currentTarget: HTMLTextAreaElement }): void => {
    if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    event.currentTarget.form!.requestSubmit();
  };
  const fine = value.value.trim() ? 'valid JSON' : 'none';
  return (
    <Field id={id} label={label} note={error ?? `${fine}; Ctrl+Enter sends it`} wrong={error !== undefined}>
      <textarea
        id={id}
        rows={4}
        spellcheck={false}
        autocapitalize="off"
        value={value.value}
        onInput={(event) => (value.value = event.currentTarget.value)}
        onKeyDown={send}
        aria-invalid={error !== undefined}
        aria-describedby={`${id}-note`}
      />
    </Field>
  );
}
