/** A section of the live socket as a table: a snapshot, then its rows as they change. */

import { apply, type Frame, type Row, type Section } from "./coalesce.ts";
import { useLive, type Topic } from "./socket.ts";
import { useResource, type Resource } from "../parts/resource.ts";

export function useRows<R extends Row>(section: Section & Topic, read: (abort: AbortSignal) => Promise<R[]>): Resource<R[]> {
  const rows = useResource(read, []);
  const take = (frame: Frame): void => {
    const known = rows.data.peek();
    if (known && (frame[section] || frame.gone?.[section])) rows.data.value = apply(section, known, frame);
  };
  useLive([section], take, () => void rows.reload());
  return rows;
}
