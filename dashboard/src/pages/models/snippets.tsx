/** The same call as code. The key is named and never shown. */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import type { Model } from "../../api/types.ts";
import { address } from "../../api/client.ts";
import { Snippet, Tabs } from "../../parts/basics.tsx";
import { fileKinds, paramsOf } from "./fields.tsx";

interface Props {
  model: Model;
  params: Record<string, string>;
  priority: number;
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
const base = (): string => address("").href.replace(/\/$/, "");

function curl({ model, params, priority }: Props): string {
  const options = { ...(priority === 5 ? {} : { priority }), params: paramsOf(model, params), ...typedInputs(model) };
  const files = fileKinds(model).map((name) => `-F ${name}=@FILE `);
  return `curl -H "Authorization: Bearer $LEVERET_API_KEY" -H "Prefer: wait=30" \\\n     -F model=${model.name} ${files.join("")}\\\n     -F options=${quoted(JSON.stringify(options))} ${base()}/v1/jobs`;
}

function typedInputs(model: Model): Record<string, unknown> {
  const names = Object.keys(model.inputs).filter((name) => !fileKinds(model).includes(name));
  return names.length ? { inputs: Object.fromEntries(names.map((name) => [name, { json: "…" }])) } : {};
}

function python({ model, params, priority }: Props): string {
  const inputs = Object.keys(model.inputs).map((name) => `, ${name}=${fileKinds(model).includes(name) ? '"FILE"' : "…"}`);
  const given = Object.entries(paramsOf(model, params)).map(([name, value]) => `, ${name}=${literal(value)}`);
  const first = Object.keys(model.outputs)[0] ?? "result";
  return `from gateway.client import Client\n\njob = Client("${base()}").submit("${model.name}"${inputs.join("")}${given.join("")}${priority === 5 ? "" : `, priority=${priority}`})\njob.wait(progress=True)\njob.outputs["${first}"].save("${first}")`;
}

const literal = (value: unknown): string => (value === true ? "True" : value === false ? "False" : JSON.stringify(value));

function command({ model, params, priority }: Props): string {
  const inputs = Object.keys(model.inputs).map((name) => ` ${name}=${fileKinds(model).includes(name) ? "@FILE" : "…"}`);
  const given = Object.entries(paramsOf(model, params)).map(([name, value]) => ` ${name}=${String(value)}`);
  return `leveret submit ${model.name}${inputs.join("")}${given.join("")}${priority === 5 ? "" : ` --priority ${priority}`} -o out/`;
}

const KINDS: Record<string, (props: Props) => string> = { curl, Python: python, Shell: command };

export function Snippets(props: Props): JSX.Element {
  const kind = useSignal("curl");
  return (
    <section class="snippets" aria-label="As code">
      <Tabs label="As code" tabs={Object.keys(KINDS).map((name) => ({ name, text: name }))} current={kind.value} choose={(name) => (kind.value = name)} />
      <Snippet text={KINDS[kind.value]!(props)} what={`${kind.value} snippet`} />
    </section>
  );
}
