/** The models on offer, read once: pages suggest their names, and know what kind an input is. */

import { signal } from "@preact/signals";
import { listModels } from "./api/jobs.ts";
import type { Model } from "./api/types.ts";

export const catalog = signal<Model[]>([]);
let asked: Promise<void> | null = null;

/** Fill the catalog if nobody has yet; without it pages only suggest less. */
export function wantCatalog(): void {
  asked ??= listModels().then(
    (models) => void (catalog.value = models),
    () => void (asked = null),
  );
}
