/** A section of the live socket as a table: a snapshot, then its rows as they change. */

import { apply, type Frame, type Row, type Section } from "./coalesce.ts";
import { useLive, type Topic } from "./socket.ts";
import { exactNow } from "../clock.ts";
import { useResource, type Resource } from "../parts/resource.ts";

/** Ages are told once and grow by themselves. */
function stamped<R extends Row>(rows: R[]): R[] {
  const read_at = exactNow();
  return rows.map((row) => ({ ...row, read_at }));
}

export function useRows<R extends Row>(section: Section & Topic, read: (abort: AbortSignal) => Promise<R[]>): Resource<R[]> {
  const rows = useResource(async (abort) => stamped(await read(abort)), []);
  const take = (frame: Frame): void => {
    const known = rows.data.peek();
    if (known && (frame[section] || frame.gone?.[section])) rows.data.value = apply(section, known, { ...frame, [section]: frame[section] && stamped(frame[section]) });
  };
  useLive([section], take, () => void rows.reload());
  return rows;
}
