/** A fleet's history as lines: steps where somebody looked, gaps where nobody did. Pure. */

import type { FleetSpan } from "../../api/types.ts";

export interface Drawn {
  /** Seconds since the epoch, rising. */
  times: number[];
  wanted: (number | null)[];
  serving: (number | null)[];
  starting: (number | null)[];
  least: (number | null)[];
  most: (number | null)[];
}

/** So shortly after the last look a line ends: uPlot ends it at the first moment without a value. */
const SOON_S = 0.001;

const seconds = (moment: string): number => Date.parse(moment) / 1000;

/**
 * @param spans Oldest first.
 * @param end Until when the last one is known to hold, in seconds; null: nobody looks any more.
 * @param now Where the time axis ends.
 */
export function drawn(spans: readonly FleetSpan[], end: number | null, now: number): Drawn {
  const lines: Drawn = { times: [], wanted: [], serving: [], starting: [], least: [], most: [] };
  const put = (time: number, span: FleetSpan | null): void => {
    const after = lines.times.at(-1);
    lines.times.push(after === undefined ? time : Math.max(time, after + SOON_S / 10));
    lines.wanted.push(span && span.want);
    lines.serving.push(span && span.serving);
    lines.starting.push(span && span.starting);
    lines.least.push(span && span.min);
    lines.most.push(span && span.max);
  };
  spans.forEach((span, index) => {
    const before = spans[index - 1];
    if (before && span.gap_before) put(seconds(before.until) + SOON_S, null);
    put(seconds(span.at), span);
    put(seconds(span.until), span);
  });
  const last = spans.at(-1);
  if (last && end !== null) put(Math.max(end, seconds(last.until)), last);
  else if (last) {
    put(seconds(last.until) + SOON_S, null);
    put(now, null);
  }
  return lines;
}

/** Whether a limit can be seen beside what is drawn: at 500, three workers would be a line on the ground. */
export function visible(limit: readonly (number | null)[], drawn: Drawn): boolean {
  const peak = Math.max(1, ...[...drawn.wanted, ...drawn.serving, ...drawn.starting].map((value) => value ?? 0));
  return limit.some((value) => value !== null && value > 0) && limit.every((value) => (value ?? 0) <= 4 * peak);
}
