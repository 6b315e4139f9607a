/** Confirmations live at the root of the page and not in what they are about: no live update can swallow one. */

import { signal, useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";

export interface Question {
  title: string;
  /** What will happen, sentence by sentence. */
  lines: string[];
  /** The button's words: what is done, to how many. */
  action: string;
  /** To be typed first, where the consequence is large. */
  word?: string | null;
  danger?: boolean;
}

const open = signal<(Question & { settle: (yes: boolean) => void }) | null>(null);

/** Ask; true when the person agreed. */
export function confirm(question: Question): Promise<boolean> {
  open.peek()?.settle(false);
  return new Promise((settle) => {
    open.value = { ...question, settle };
  });
}

export function Confirmation(): JSX.Element | null {
  const question = open.value;
  return question && <Dialog key={question.title} question={question} />;
}

function Dialog({ question }: { question: NonNullable<typeof open.value> }): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const typed = useSignal("");
  useEffect(() => dialog.current?.showModal(), []);
  const end = (yes: boolean): void => {
    open.value = null;
    question.settle(yes);
  };
  const ready = !question.word || typed.value === question.word;
  return (
    <dialog ref={dialog} class="confirm" aria-labelledby="confirm-title" onClose={() => end(false)}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (ready) end(true);
        }}
      >
        <h2 id="confirm-title" dir="auto">
          {question.title}
        </h2>
        {question.lines.map((line) => (
          <p key={line} dir="auto">
            {line}
          </p>
        ))}
        {question.word && (
          <label>
            <span>
              Type <code>{question.word}</code> to go on
            </span>
            <input value={typed.value} onInput={(event) => (typed.value = event.currentTarget.value)} autoComplete="off" spellcheck={false} />
          </label>
        )}
        <div class="buttons">
          <button type="button" onClick={() => end(false)}>
            Not now
          </button>
          <button type="submit" class={question.danger ? "danger" : "primary"} disabled={!ready}>
            {question.action}
          </button>
        </div>
      </form>
    </dialog>
  );
}
