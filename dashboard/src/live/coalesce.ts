/** Frames that came since the last paint, as one. Pure, tested by tests/coalesce.test.ts. */

export interface Row {
  id?: string;
  queue?: string;
  seq?: number;
  /** When the page got it, by the server's clock: ages in it count on from there. */
  read_at?: number;
}

export const SECTIONS = ["jobs", "queues", "workers", "scaler"] as const;
export type Section = (typeof SECTIONS)[number];

/** What the socket says, per painted frame: only what changed. */
export interface Frame {
  seq: number;
  at: string;
  jobs?: Row[];
  queues?: Row[];
  workers?: Row[];
  scaler?: Row[];
  overview?: unknown;
  /** Jobs made since the subscription began. */
  new_jobs?: number;
  gone?: Partial<Record<Section, string[]>>;
  /** Topics of which too much changed: take a snapshot. */
  resync?: string[];
  /** Topics whose source does not answer: keep and dim. */
  stale?: string[];
  refused?: string[];
}

const NAMED: Record<Section, "id" | "queue"> = { jobs: "id", queues: "queue", workers: "id", scaler: "queue" };

/** What tells a section's rows apart. */
export function nameOf(section: Section, row: Row): string {
  return row[NAMED[section]] ?? "";
}

const union = <T>(one: T[] | undefined, other: T[] | undefined): T[] | undefined => (one || other) && [...new Set([...(one ?? []), ...(other ?? [])])];

/** The later frame over the earlier: the latest row of each name. */
export function merge(earlier: Frame | null, later: Frame): Frame {
  if (!earlier) return later;
  const merged: Frame = { ...earlier, ...later, resync: union(earlier.resync, later.resync), stale: union(earlier.stale, later.stale) };
  merged.gone = { ...earlier.gone };
  for (const section of SECTIONS) {
    const came = later[section];
    if (earlier[section] && came) merged[section] = latest(section, [...earlier[section], ...came]);
    const names = new Set(came?.map((row) => nameOf(section, row)));
    merged.gone[section] = union(merged.gone[section]?.filter((name) => !names.has(name)), later.gone?.[section]);
  }
  return merged;
}

function latest(section: Section, rows: Row[]): Row[] {
  return [...new Map(rows.map((row) => [nameOf(section, row), row])).values()];
}

/** A section's rows with a frame applied. Their order stays, new ones come last, and what did not change is the same object. */
export function apply<R extends Row>(section: Section, rows: readonly R[], frame: Frame, { grow = true } = {}): R[] {
  const deltas = new Map((frame[section] as R[] | undefined)?.map((row) => [nameOf(section, row), row]));
  const gone = new Set(frame.gone?.[section]);
  const kept = rows.filter((row) => !gone.has(nameOf(section, row))).map((row) => newer(row, deltas.get(nameOf(section, row))));
  const shown = new Set(rows.map((row) => nameOf(section, row)));
  return grow ? [...kept, ...[...deltas.values()].filter((row) => !shown.has(nameOf(section, row)))] : kept;
}

function newer<R extends Row>(row: R, delta: R | undefined): R {
  return delta && (delta.seq ?? 0) >= (row.seq ?? 0) ? { ...row, ...delta } : row;
}
