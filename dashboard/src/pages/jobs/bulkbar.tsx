/** What can be done to the rows that are selected, or to all that the filter finds. */

import { useSignal, type Signal } from "@preact/signals";
import type { JSX } from "preact";
import type { BulkAction, BulkFilter, JobCounts, JobRow, State } from "../../api/types.ts";
import { count } from "../../format.ts";
import { runBulk } from "../../parts/bulk.tsx";

const TAKES: Record<BulkAction, State[]> = { retry: ["failed", "expired", "canceled"], cancel: ["waiting", "queued", "running"], prioritise: ["waiting", "queued"] };

interface Props {
  filter: BulkFilter;
  filtered: boolean;
  selection: Signal<ReadonlySet<string>>;
  rows: readonly JobRow[];
  counts: JobCounts | null;
  done: () => void;
}

interface Offer {
  action: BulkAction;
  label: string;
  what: string;
}

/** What fits the selection, or else the filter, with how many as far as that is known. */
function offers({ selection, rows, filter, filtered, counts }: Props): Offer[] {
  const picked = rows.filter((row) => selection.value.has(row.id));
  const stated = new Set(filter["state"] as string[] | undefined);
  const made = (Object.keys(TAKES) as BulkAction[]).map((action) => {
    const fitting = picked.filter((row) => TAKES[action].includes(row.state));
    const present = new Set(fitting.map((row) => row.state));
    const takes = TAKES[action].filter((state) => (selection.value.size ? present.has(state) : !stated.size || stated.has(state)));
    const known = takes.map((state) => counts?.[state]).filter((one) => one !== undefined);
    const n = selection.value.size ? fitting.length : known.reduce((sum, one) => sum + one.n, 0);
    const more = !selection.value.size && known.some((one) => one.more);
    const what = takes.length === 1 ? takes[0]! : n === 1 ? "job" : "jobs";
    // Those that were retried are left out by the gateway, which alone knows how many these are.
    const most = action === "retry" && !selection.value.size && filter["retried"] === undefined ? "up to " : "";
    return { action, n, what, label: `${most}${count(n, more)} ${what}` };
  });
  return made.filter(({ n }) => n > 0 && (selection.value.size > 0 || filtered));
}

const WORDS: Record<BulkAction, string> = { retry: "Retry", cancel: "Cancel", prioritise: "Set priority of" };

export function BulkBar(props: Props): JSX.Element {
  const priority = useSignal(9);
  const run = async ({ action, what }: Offer): Promise<void> => {
    const filter: BulkFilter = props.selection.value.size ? { ...("scope" in props.filter ? { scope: "all" } : {}), ids: [...props.selection.value] } : props.filter;
    await runBulk(action, filter, what, action === "prioritise" ? priority.value : undefined);
    props.done();
  };
  const found = offers(props);
  return (
    <div class="bulkbar" data-actions aria-label="Actions on many">
      <span class="muted">{props.selection.value.size ? `${count(props.selection.value.size)} selected${found.length ? "" : ": nothing is to be done for these"}` : props.filtered ? (found.length ? "All that match:" : "Nothing is to be done for what matches.") : "Select rows, or filter, to act on many."}</span>
      {found.map((offer) => (
        <button key={offer.action} type="button" onClick={() => void run(offer)}>
          {WORDS[offer.action]} {offer.label}
          {offer.action === "prioritise" && "…"}
        </button>
      ))}
      {found.some(({ action }) => action === "prioritise") && (
        <label class="inline">
          to{" "}
          <select value={String(priority.value)} onChange={(event) => (priority.value = Number(event.currentTarget.value))} aria-label="New priority">
            {Array.from({ length: 11 }, (_, n) => (
              <option key={n}>{n}</option>
            ))}
          </select>
        </label>
      )}
      {props.selection.value.size > 0 && (
        <button type="button" class="quiet" onClick={() => (props.selection.value = new Set())}>
          Clear selection
        </button>
      )}
    </div>
  );
}
