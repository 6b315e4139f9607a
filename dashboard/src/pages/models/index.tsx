/** Models: fast enough? try it. */

import type { JSX } from "preact";
import { useRef } from "preact/hooks";
import { listModels, listStatistics } from "../../api/jobs.ts";
import type { Model, ModelStatistics, Percentiles } from "../../api/types.ts";
import type { PageProps } from "../../app.tsx";
import { bytes, count, duration, percent } from "../../format.ts";
import { Blank, Clipped, Loaded, StillOld } from "../../parts/basics.tsx";
import { Over } from "../../parts/history.tsx";
import { usePolled, useResource, type Resource } from "../../parts/resource.ts";
import { Table, type Column } from "../../parts/table.tsx";
import { WindowChoice, windowOf } from "../../parts/window.tsx";
import { go, href } from "../../router.ts";
import { operates } from "../../session.ts";
import { droppedFile } from "./fields.tsx";
import { carried, Try } from "./try.tsx";

/** The live socket tells nothing of latencies. */
const POLL_MS = 10_000;

export function Models({ rest }: PageProps): JSX.Element {
  return rest[0] ? <OneModel key={rest[0]} name={rest[0]} /> : <AllModels />;
}

interface Row {
  model: Model;
  statistics: ModelStatistics | undefined;
}

interface Read {
  models: Resource<Model[]>;
  statistics: Resource<ModelStatistics[]>;
}

function useModels(window_s: number): Read {
  const models = useResource(listModels, []);
  const statistics = useResource((abort) => listStatistics(window_s, operates() ? "all" : null, abort), [window_s]);
  usePolled(statistics, POLL_MS);
  return { models, statistics };
}

/** Without its figures a model can still be tried: they are dashes then, and it is said why. */
function rowsOf(models: Model[], { statistics }: Read): Row[] {
  const byName = new Map(statistics.data.value?.map((one) => [one.name, one]));
  return models.map((model) => ({ model, statistics: byName.get(model.name) }));
}

function NoFigures({ of }: { of: Resource<ModelStatistics[]> }): JSX.Element | null {
  const problem = of.problem.value;
  return problem && <StillOld problem={problem} retry={() => void of.reload()} what="The figures could not be read" />;
}

/** p50/p95/p99 in one cell: the last is unknown below 100 samples. */
function Spread({ of }: { of: Percentiles | undefined }): JSX.Element {
  return (
    <span title={of ? `n = ${count(of.n)}; p99 from 100 on` : undefined}>
      {duration(of?.p50)} <span class="muted">/</span> {duration(of?.p95)} <span class="muted">/</span> {duration(of?.p99)}
    </span>
  );
}

/** What the share of errors is of; an attempt that was repeated failed, whatever became of its job. */
function judged(statistics: ModelStatistics | undefined): string {
  if (!statistics) return "";
  const { succeeded, failed, retried } = statistics.ended;
  return `n = ${count(succeeded + failed + retried)}: ${count(failed)} failed their job, ${count(retried)} were repeated`;
}

/** Failures are jobs: where all of a model's ended well after an attempt that failed, its own page tells when. */
function errorsOf(model: Model, statistics: ModelStatistics | undefined): string {
  const repeated = statistics !== undefined && statistics.ended.failed + statistics.ended.expired === 0 && statistics.ended.retried > 0;
  return repeated ? href(["models", model.name]) : href(["failures"], { model: model.name, since: windowOf(), scope: operates() ? "all" : null });
}

const COLD = "Loads of the model in this time: by a worker at its start, by an engine anew, or by an attempt that needed it";

const COLUMNS: Column<Row>[] = [
  { name: "model", label: "Model", first: true, cell: ({ model }) => <a href={href(["models", model.name])}>{model.name}@{model.version}</a> },
  { name: "about", label: "", wide: true, cell: ({ model }) => <Clipped text={model.description} class="muted" /> },
  { name: "queue", label: "Queue", cell: ({ model }) => model.queue },
  { name: "n", label: "Attempts", right: true, cell: ({ statistics }) => `${count(statistics?.n)}${statistics?.more ? "+" : ""}` },
  { name: "wait", label: "Wait p50/p95/p99", right: true, cell: ({ statistics }) => <Spread of={statistics?.wait} /> },
  { name: "load", label: "Load p50/p95/p99", right: true, cell: ({ statistics }) => <Spread of={statistics?.load} /> },
  { name: "run", label: "Run p50/p95/p99", right: true, cell: ({ statistics }) => <Spread of={statistics?.run} /> },
  { name: "errors", label: "Errors, of attempts", right: true, first: true, cell: ({ model, statistics }) => <a href={errorsOf(model, statistics)} title={judged(statistics)}>{percent(statistics?.error_rate)}</a> },
  { name: "cold", label: "Cold starts", right: true, cell: ({ statistics }) => <span title={COLD}>{count(statistics?.cold_starts)}</span> },
  { name: "memory", label: "Memory", right: true, cell: ({ statistics }) => bytes(statistics?.memory) },
];

const rowUnder = (event: DragEvent): HTMLElement | null => (event.target as HTMLElement).closest<HTMLElement>("tr[data-name]");

function AllModels(): JSX.Element {
  const window_s = windowOf();
  const read = useModels(window_s);
  usePolled(read.models, POLL_MS);
  const over = useRef<HTMLElement | null>(null);
  const mark = (row: HTMLElement | null): void => {
    if (row === over.current) return;
    over.current?.classList.remove("over");
    row?.classList.add("over");
    over.current = row;
  };
  const drop = (event: DragEvent): void => {
    mark(null);
    const file = droppedFile(event);
    const name = rowUnder(event)?.dataset["name"];
    if (!file || !name) return;
    carried.value = file;
    go(["models", name]);
  };
  return (
    <section
      onDragOver={(event) => {
        event.preventDefault();
        mark(rowUnder(event));
      }}
      onDragLeave={(event) => event.currentTarget.contains(event.relatedTarget as Node | null) || mark(null)}
      onDrop={drop}
    >
      <div class="title">
        <h1>Models</h1>
        <p>
          Drop a file on a model to try it, or open it. Latency <WindowChoice />
        </p>
      </div>
      <NoFigures of={read.statistics} />
      <Loaded of={read.models}>
        {(models) =>
          models.length ? (
            <Table label="Models" columns={COLUMNS} rows={rowsOf(models, read)} name={({ model }) => model.name} open={({ model }) => go(["models", model.name])} />
          ) : (
            <Blank title="No models yet">
              <p>
                A model is a folder with a model.toml in the catalog: <code>leveret models new NAME</code> writes the first.
              </p>
            </Blank>
          )
        }
      </Loaded>
    </section>
  );
}

function OneModel({ name }: { name: string }): JSX.Element {
  const window_s = windowOf();
  const read = useModels(window_s);
  return (
    <Loaded of={read.models}>
      {(models) => {
        const row = rowsOf(models, read).find(({ model }) => model.name === name || `${model.name}@${model.version}` === name);
        return row ? <Shown {...row} models={models} figures={<NoFigures of={read.statistics} />} /> : <Blank title={`No model ${name}`}><a href={href(["models"])}>All models</a></Blank>;
      }}
    </Loaded>
  );
}

function Shown({ model, statistics, models, figures }: Row & { models: Model[]; figures: JSX.Element }): JSX.Element {
  return (
    <>
      <div class="title">
        <h1>
          <select aria-label="Model" value={model.name} onChange={(event) => go(["models", event.currentTarget.value])}>
            {models.map((one) => (
              <option key={one.name}>{one.name}</option>
            ))}
          </select>
        </h1>
        <p dir="auto">
          {model.description} <span class="muted">version {model.version} · queue {model.queue} · at most {duration(model.timeout_s)}</span>
        </p>
      </div>
      <Try key={model.name} model={model} />
      {figures}
      <Statistics statistics={statistics} />
      <Over model={model.name} />
    </>
  );
}

function Statistics({ statistics }: { statistics: ModelStatistics | undefined }): JSX.Element {
  const parts: [string, Percentiles | undefined][] = [["Wait", statistics?.wait], ["Load", statistics?.load], ["Run", statistics?.run]];
  return (
    <section aria-label="Latency">
      <h2>
        How fast <WindowChoice />
      </h2>
      <table class="plain">
        <thead>
          <tr>
            <th />
            <th class="right">p50</th>
            <th class="right">p95</th>
            <th class="right">p99</th>
            <th class="right">n</th>
          </tr>
        </thead>
        <tbody>
          {parts.map(([name, of]) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td class="right">{duration(of?.p50)}</td>
              <td class="right">{duration(of?.p95)}</td>
              <td class="right" title={of && of.n < 100 ? "from 100 samples on" : undefined}>{duration(of?.p99)}</td>
              <td class="right">{count(of?.n)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <p class="muted">
        Errors {percent(statistics?.error_rate)} of attempts{statistics ? ` (${judged(statistics)})` : ""} · <span title={COLD}>cold starts {count(statistics?.cold_starts)}</span> · memory {bytes(statistics?.memory)} · batch (median) {count(statistics?.batch_size_p50)}
      </p>
    </section>
  );
}
