/** What a worker told of itself, in words: what it did not tell is a dash, what it told to be nothing is said so. */

import type { DeviceRow, LoadedRow, WorkerRow } from "../../api/types.ts";
import { bytes, duration, NONE } from "../../format.ts";

/** `cutout@1 (loaded in 2.14 s, 176 MiB), faces@2`: of an offline worker nobody knows what is left of it. */
export function heldModels(row: Pick<WorkerRow, "silent" | "models">): string {
  if (row.silent || !row.models) return NONE;
  return row.models.length ? row.models.map(heldModel).join(", ") : "no model yet";
}

function heldModel({ name, version, load_s, memory }: LoadedRow): string {
  const known = [load_s === null ? "" : `loaded in ${duration(load_s)}`, memory === null ? "" : bytes(memory)].filter(Boolean);
  return `${name}@${version}${known.length ? ` (${known.join(", ")})` : ""}`;
}

/** Of an offline worker what its devices are, and not what they do. */
export function shownDevices(row: Pick<WorkerRow, "silent" | "devices">): DeviceRow[] {
  const devices = row.devices ?? [];
  return row.silent ? devices.map((device) => ({ ...device, utilisation: null, memory_used: null })) : devices;
}
