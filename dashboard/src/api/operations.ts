/** Calls for operators: queues, workers, the scaler, keys, settings. */

import { call } from "./client.ts";
import type { ApiKey, DecisionsPage, FleetRow, FleetSpan, History, Overview, QueueRow, Role, Settings, WorkerRow } from "./types.ts";

const named = (kind: string, name: string): string => `v1/${kind}/${encodeURIComponent(name)}`;

export const readOverview = (signal?: AbortSignal): Promise<Overview> => call("v1/overview", { signal });

export const readHistory = (query: { window_s: number; model: string | null; scope: string | null }, signal?: AbortSignal): Promise<History> =>
  call("v1/history", { query, signal });

export async function listQueues(signal?: AbortSignal): Promise<QueueRow[]> {
  return (await call<{ queues: QueueRow[] }>("v1/queues", { signal })).queues;
}

export const pauseQueue = (queue: string): Promise<QueueRow> => call(`${named("queues", queue)}/pause`, { method: "POST" });
export const resumeQueue = (queue: string): Promise<QueueRow> => call(`${named("queues", queue)}/resume`, { method: "POST" });

export async function listWorkers(signal?: AbortSignal): Promise<WorkerRow[]> {
  return (await call<{ workers: WorkerRow[] }>("v1/workers", { signal })).workers;
}

export const drainWorker = (id: string): Promise<WorkerRow> => call(`${named("workers", id)}/drain`, { method: "POST" });
export const undrainWorker = (id: string): Promise<WorkerRow> => call(`${named("workers", id)}/undrain`, { method: "POST" });

export async function listFleets(signal?: AbortSignal): Promise<FleetRow[]> {
  return (await call<{ fleets: FleetRow[] }>("v1/scaler", { signal })).fleets;
}

export const listDecisions = (queue: string, cursor: number | null, limit: number, signal?: AbortSignal): Promise<DecisionsPage> =>
  call(`${named("scaler", queue)}/decisions`, { query: { cursor, limit }, signal });

export const listSpans = async (queue: string, since_s: number, signal?: AbortSignal): Promise<FleetSpan[]> =>
  (await call<{ spans: FleetSpan[] }>(`${named("scaler", queue)}/history`, { query: { since_s }, signal })).spans;

export const setFleet = (queue: string, limits: { min?: number | null; max?: number | null }): Promise<FleetRow> =>
  call(named("scaler", queue), { method: "PUT", body: limits });
export const pauseFleet = (queue: string): Promise<FleetRow> => call(`${named("scaler", queue)}/pause`, { method: "POST" });
export const resumeFleet = (queue: string): Promise<FleetRow> => call(`${named("scaler", queue)}/resume`, { method: "POST" });

export async function listKeys(signal?: AbortSignal): Promise<ApiKey[]> {
  return (await call<{ keys: ApiKey[] }>("v1/admin/keys", { signal })).keys;
}

export const createKey = (asked: { name: string; role: Role; expires_in_s?: number }): Promise<{ key: ApiKey; secret: string }> =>
  call("v1/admin/keys", { method: "POST", body: asked });
export const revokeKey = (id: string): Promise<ApiKey> => call(named("admin/keys", id), { method: "DELETE" });

export const readSettings = (signal?: AbortSignal): Promise<Settings> => call("v1/settings", { signal });
