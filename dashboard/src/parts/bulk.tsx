/** Actions on many jobs: the gateway freezes which ones, the person sees how many, and may stop it under way. */

import { signal } from "@preact/signals";
import type { JSX } from "preact";
import { abortBulk, draftBulk, readBulk, startBulk } from "../api/jobs.ts";
import type { Bulk, BulkAction, BulkFilter } from "../api/types.ts";
import { count } from "../format.ts";
import { confirm } from "./confirm.tsx";
import { act, failed, toast } from "./toasts.tsx";

const VERBS: Record<BulkAction, string> = { retry: "Retry", cancel: "Cancel", prioritise: "Re-prioritise" };
const POLL_MS = 700;
const KEPT_MS = 15_000;
const under = signal<Bulk[]>([]);

function keep(bulk: Bulk): void {
  under.value = [...under.value.filter((one) => one.id !== bulk.id), bulk];
}

function told(filter: BulkFilter): string {
  return Object.entries(filter)
    .map(([name, value]) => (name === "ids" ? `${value.length} chosen by hand` : `${name}:${Array.isArray(value) ? value.join(",") : value}`))
    .join(" ");
}

/** Draft it, ask, start it, watch it. */
export async function runBulk(action: BulkAction, filter: BulkFilter, what: string, priority?: number): Promise<void> {
  const draft = await attempt(() => draftBulk(action, filter, priority));
  if (!draft) return;
  const title = `${VERBS[action]} ${count(draft.count)} ${what}?`;
  const lines = [`Filter: ${told(draft.filter)}. Fixed now: jobs that come later are not touched.`, draft.consequence];
  const word = draft.confirm_needed ? draft.confirm_word : null;
  if (draft.count === 0) toast(draft.left_out > 0 ? `All ${count(draft.left_out)} were retried before: retried:any means them too` : `No ${what} match any more`);
  const agreed = draft.count > 0 && (await confirm({ title, lines, word, action: `${VERBS[action]} ${count(draft.count)} ${what}`, danger: action === "cancel" }));
  const next = await attempt(() => (agreed ? startBulk(draft.id, word) : abortBulk(draft.id)));
  if (next && agreed) watch(next);
}

async function attempt(step: () => Promise<Bulk>): Promise<Bulk | null> {
  try {
    return await step();
  } catch (error) {
    failed(error);
    return null;
  }
}

function watch(bulk: Bulk): void {
  keep(bulk);
  const over = bulk.state !== "draft" && bulk.state !== "running";
  setTimeout(() => (over ? drop(bulk.id) : void readBulk(bulk.id).then(watch, () => watch(bulk))), over ? KEPT_MS : POLL_MS);
}

function drop(id: string): void {
  under.value = under.value.filter((one) => one.id !== id);
}

export function BulkPanel(): JSX.Element | null {
  if (!under.value.length) return null;
  return (
    <aside class="bulk" aria-label="Actions under way">
      {under.value.map((bulk) => (
        <One key={bulk.id} bulk={bulk} />
      ))}
    </aside>
  );
}

function One({ bulk }: { bulk: Bulk }): JSX.Element {
  const past = bulk.done + bulk.skipped + bulk.failed;
  const words = `${VERBS[bulk.action]}: ${count(bulk.done)} of ${count(bulk.count)}${bulk.skipped ? `, ${count(bulk.skipped)} had changed` : ""}${bulk.failed ? `, ${count(bulk.failed)} refused` : ""}`;
  return (
    <div class="one" role="status">
      <span>
        {words} <span class="muted">{bulk.error ?? bulk.state}</span>
      </span>
      <progress max={bulk.count || 1} value={past} aria-label={words} />
      {bulk.state === "running" ? (
        <button type="button" onClick={() => void act("Stopped; what is done stays done", () => abortBulk(bulk.id))}>
          Stop
        </button>
      ) : (
        <button type="button" class="quiet" onClick={() => drop(bulk.id)}>
          Close
        </button>
      )}
    </div>
  );
}
