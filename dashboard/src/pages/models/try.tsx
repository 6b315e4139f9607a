/** Try a model: drop a file, watch it go queued → worker starting → running → result, input and output side by side. */

import { signal, useSignal, type Signal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import { asProblem, freshKey, type ApiProblem } from "../../api/client.ts";
import { readInputFile, readJob, submitJob } from "../../api/jobs.ts";
import type { Model } from "../../api/types.ts";
import { href, route, setQuery } from "../../router.ts";
import { toast } from "../../parts/toasts.tsx";
import { Field, fileKinds, initialParams, paramsOf, type Given } from "./fields.tsx";
import { Snippets } from "./snippets.tsx";
import { Stage } from "./stage.tsx";

/** A file dropped on a row of the list, on its way to the model's page. */
export const carried = signal<File | null>(null);

interface Draft {
  given: Signal<Given>;
  params: Signal<Record<string, string>>;
  priority: Signal<number>;
}

function useDraft(model: Model): Draft {
  return useMemo(() => ({ given: signal<Given>({}), params: signal(initialParams(model)), priority: signal(5) }), [model]);
}

const missing = (model: Model, given: Given): string[] =>
  Object.entries(model.inputs).filter(([name, input]) => input.required !== false && given[name] === undefined).map(([name]) => name);

export function Try({ model }: { model: Model }): JSX.Element {
  const draft = useDraft(model);
  const sending = useSignal(false);
  const problem = useSignal<ApiProblem | null>(null);
  const job = route.value.query.get("job");
  const run = async (): Promise<void> => {
    if (sending.value || missing(model, draft.given.value).length) return;
    sending.value = true;
    problem.value = null;
    try {
      const made = await submit(model, draft);
      setQuery({ job: made.id, from: null });
    } catch (error) {
      problem.value = asProblem(error);
    }
    sending.value = false;
  };
  const give = (name: string, value: File | string | undefined): void => {
    draft.given.value = { ...draft.given.value, [name]: value };
    if (value instanceof File) void run();
  };
  useCarried(model, give);
  usePrefill(model, draft);
  return (
    <div class="try">
      <Form model={model} draft={draft} give={give} run={run} sending={sending.value} problem={problem.value} />
      <Stage key={job ?? "none"} model={model} id={job} given={draft.given.value} sending={sending.value} give={give} />
      <Snippets model={model} params={draft.params.value} priority={draft.priority.value} />
    </div>
  );
}

function submit(model: Model, draft: Draft): ReturnType<typeof submitJob> {
  const given = Object.entries(draft.given.value).filter(([, value]) => value !== undefined);
  const files = Object.fromEntries(given.filter((one): one is [string, File] => one[1] instanceof File));
  const inputs = Object.fromEntries(given.filter(([, value]) => typeof value === "string").map(([name, value]) => [name, { json: asJson(model, name, value as string) }]));
  const options = { priority: draft.priority.value, params: paramsOf(model, draft.params.value), ...(Object.keys(inputs).length ? { inputs } : {}) };
  return submitJob(`${model.name}@${model.version}`, options, files, freshKey());
}

function asJson(model: Model, name: string, text: string): unknown {
  return model.inputs[name]?.kind === "json" ? (JSON.parse(text) as unknown) : text;
}

function useCarried(model: Model, give: (name: string, file: File) => void): void {
  useEffect(() => {
    const file = carried.peek();
    const name = fileKinds(model)[0];
    carried.value = null;
    if (file && name) give(name, file);
  }, [model]);
}

/** `?from=JOB`: the same inputs and params as that job's, to be changed before they are sent. */
function usePrefill(model: Model, draft: Draft): void {
  const from = route.value.query.get("from");
  useEffect(() => {
    if (from) void prefill(from, model, draft).catch((error: unknown) => toast(`not all of the job could be taken over: ${asProblem(error).message}`, { kind: "failed" }));
  }, [from, model]);
}

async function prefill(id: string, model: Model, draft: Draft): Promise<void> {
  const job = await readJob(id);
  draft.priority.value = job.priority;
  draft.params.value = { ...initialParams(model), ...Object.fromEntries(Object.entries(job.params).map(([name, value]) => [name, String(value)])) };
  for (const [name, input] of Object.entries(job.inputs)) {
    const value = "json" in input ? (typeof input.json === "string" ? input.json : JSON.stringify(input.json)) : await readInputFile(id, name);
    draft.given.value = { ...draft.given.value, [name]: value };
  }
}

interface FormProps {
  model: Model;
  draft: Draft;
  give: (name: string, value: File | string | undefined) => void;
  run: () => Promise<void>;
  sending: boolean;
  problem: ApiProblem | null;
}

function Form({ model, draft, give, run, sending, problem }: FormProps): JSX.Element {
  const lacks = missing(model, draft.given.value);
  return (
    <form
      class="try-form"
      onSubmit={(event) => {
        event.preventDefault();
        void run();
      }}
    >
      {Object.entries(model.inputs).map(([name, input]) => (
        <Field key={name} name={name} input={input} value={draft.given.value[name]} give={(value) => give(name, value)} />
      ))}
      <Params model={model} params={draft.params} />
      <label class="field">
        <span>Priority</span>
        <input type="range" min={0} max={10} value={draft.priority.value} onInput={(event) => (draft.priority.value = Number(event.currentTarget.value))} />
        <output>{draft.priority.value}</output>
      </label>
      <button type="submit" class="primary" disabled={sending || lacks.length > 0}>
        {sending ? "Sending…" : route.value.query.get("job") ? "Run again" : "Run"}
      </button>
      {lacks.length > 0 && <p class="muted">Needs {lacks.join(", ")}.</p>}
      {problem && <Refused problem={problem} />}
    </form>
  );
}

function Refused({ problem }: { problem: ApiProblem }): JSX.Element {
  return (
    <div class="notice bad" role="alert">
      <p>
        {problem.message} (<a href={`docs/errors#${problem.code}`}>{problem.code}</a>)
      </p>
      {problem.fields.map((field) => (
        <p key={field.path} dir="auto">
          <code>{field.path}</code> {field.message}
        </p>
      ))}
    </div>
  );
}

function Params({ model, params }: { model: Model; params: Signal<Record<string, string>> }): JSX.Element {
  const set = (name: string, value: string): void => void (params.value = { ...params.value, [name]: value });
  return (
    <>
      {Object.entries(model.params.properties ?? {}).map(([name, schema]) => (
        <label class="field" key={name} title={schema.description}>
          <span>{name}</span>
          {schema.enum || schema.type === "boolean" ? (
            <select value={params.value[name]} onChange={(event) => set(name, event.currentTarget.value)}>
              {(schema.enum ?? [true, false]).map((choice) => (
                <option key={String(choice)}>{String(choice)}</option>
              ))}
            </select>
          ) : (
            <input
              type={schema.type === "integer" || schema.type === "number" ? "number" : "text"}
              step={schema.type === "integer" ? 1 : "any"}
              min={schema.minimum}
              max={schema.maximum}
              value={params.value[name] ?? ""}
              onInput={(event) => set(name, event.currentTarget.value)}
            />
          )}
        </label>
      ))}
    </>
  );
}

export const tryFrom = (model: string, job: string): string => href(["models", model], { from: job });
