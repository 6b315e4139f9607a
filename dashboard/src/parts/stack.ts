/** Lines on top of each other. Pure. */

export type Points = readonly (number | null)[];

/** Each line plus all below it, as uPlot draws them; nothing where a line itself knows nothing. */
export function stacked(lines: readonly Points[]): (number | null)[][] {
  const below: number[] = [];
  return lines.map((line) =>
    line.map((value, index) => {
      if (value === null) return null;
      below[index] = (below[index] ?? 0) + value;
      return below[index]!;
    }),
  );
}

/** Shares of the whole of each step; nothing where it is nothing. */
export function shares(lines: readonly (readonly number[])[]): (number | null)[][] {
  const totals = (lines[0] ?? []).map((_, index) => lines.reduce((sum, line) => sum + line[index]!, 0));
  return lines.map((line) => line.map((value, index) => (totals[index] ? value / totals[index]! : null)));
}

export interface Named {
  name: string;
  points: Points;
}

const sum = (points: Points): number => points.reduce<number>((total, value) => total + (value ?? 0), 0);

/** The largest ones by name, and all others as one: more areas than colours tell nothing. */
export function largest(lines: readonly Named[], most: number, rest: string): Named[] {
  if (lines.length <= most) return [...lines];
  const ranked = [...lines].sort((one, other) => sum(other.points) - sum(one.points));
  const kept = ranked.slice(0, most - 1).sort((one, other) => one.name.localeCompare(other.name));
  const small = ranked.slice(most - 1);
  const points = small[0]!.points.map((first, index) => (first === null ? null : small.reduce((total, line) => total + (line.points[index] ?? 0), 0)));
  return [...kept, { name: rest, points }];
}

/** Places whose neighbours are not known: a line has no length there, so they want a mark of their own. */
export function lone(points: Points): number[] {
  const places: number[] = [];
  points.forEach((value, index) => {
    if (value !== null && (points[index - 1] ?? null) === null && (points[index + 1] ?? null) === null) places.push(index);
  });
  return places;
}
