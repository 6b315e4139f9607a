/** What a model takes, as a form: files are dropped or chosen, texts typed. */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import type { Model, ModelInput } from "../../api/types.ts";
import { bytes } from "../../format.ts";

export type Given = Record<string, File | string | undefined>;

const typed = (input: ModelInput): boolean => input.kind === "json" || input.kind === "text";

/** The inputs that want a file. */
export const fileKinds = (model: Model): string[] =>
  Object.entries(model.inputs)
    .filter(([, input]) => !typed(input))
    .map(([name]) => name);

export function initialParams(model: Model): Record<string, string> {
  const known = Object.entries(model.params.properties ?? {});
  return Object.fromEntries(known.filter(([, schema]) => schema.default !== undefined).map(([name, schema]) => [name, String(schema.default)]));
}

/** Params as JSON; what is left empty is the model's own default. */
export function paramsOf(model: Model, given: Record<string, string>): Record<string, unknown> {
  const known = Object.entries(model.params.properties ?? {}).filter(([name]) => given[name] !== undefined && given[name] !== "");
  return Object.fromEntries(known.map(([name, { type }]) => [name, converted(given[name]!, type)]));
}

function converted(text: string, type: string | undefined): unknown {
  if (type === "integer" || type === "number") return Number(text);
  return type === "boolean" ? text === "true" : text;
}

export function droppedFile(event: DragEvent): File | null {
  event.preventDefault();
  return event.dataTransfer?.files[0] ?? null;
}

interface FieldProps {
  name: string;
  input: ModelInput;
  value: File | string | undefined;
  give: (value: File | string | undefined) => void;
}

export function Field(props: FieldProps): JSX.Element {
  return typed(props.input) ? <Typed {...props} /> : <Dropped {...props} />;
}

function Typed({ name, input, value, give }: FieldProps): JSX.Element {
  return (
    <label class="field tall" title={input.description}>
      <span>
        {name} <small class="muted">{input.kind}</small>
      </span>
      <textarea rows={4} value={typeof value === "string" ? value : ""} onInput={(event) => give(event.currentTarget.value || undefined)} spellcheck={false} dir="auto" />
    </label>
  );
}

function Dropped({ name, input, value, give }: FieldProps): JSX.Element {
  const over = useSignal(false);
  const take = (file: File | null | undefined): void => {
    over.value = false;
    if (file) give(file);
  };
  return (
    <label
      class={`drop ${over.value ? "over" : ""}`}
      onDragOver={(event) => {
        event.preventDefault();
        over.value = true;
      }}
      onDragLeave={() => (over.value = false)}
      onDrop={(event) => take(droppedFile(event))}
      onPaste={(event) => take(event.clipboardData?.files[0])}
    >
      <input type="file" aria-label={`Input ${name}`} accept={(input.content_types ?? []).join(",")} onChange={(event) => take(event.currentTarget.files?.[0])} />
      <strong>{name}</strong>
      <span class="muted" dir="auto">
        {value instanceof File ? `${value.name} · ${bytes(value.size)}` : `Drop ${article(input.kind)} here, or choose one`}
      </span>
    </label>
  );
}

const article = (kind: string): string => (kind === "image" ? "an image" : kind === "audio" ? "a sound" : "a file");
