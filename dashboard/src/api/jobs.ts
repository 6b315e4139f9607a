/** Calls about jobs, by what they do. */

import { address, call, freshKey, send } from "./client.ts";
import type { Attempt, AuditPage, Bulk, BulkAction, BulkFilter, FailureDetail, FailuresPage, Job, JobCounts, JobEvent, JobsPage, Model, ModelStatistics } from "./types.ts";

type Query = Record<string, string | number | readonly string[] | null | undefined>;
const path = (id: string): string => `v1/jobs/${encodeURIComponent(id)}`;
const SUBMIT_MS = 300_000;

export const listJobs = (query: Query, signal?: AbortSignal): Promise<JobsPage> => call("v1/jobs", { query, signal });

export async function countJobs(query: Query, signal?: AbortSignal): Promise<JobCounts> {
  return (await call<{ counts: JobCounts }>("v1/jobs/counts", { query, signal })).counts;
}

export const readJob = (id: string, signal?: AbortSignal): Promise<Job> => call(path(id), { signal });

export async function readAttempts(id: string, signal?: AbortSignal): Promise<Attempt[]> {
  return (await call<{ attempts: Attempt[] }>(`${path(id)}/attempts`, { signal })).attempts;
}

export async function readLog(id: string, attempt: number): Promise<string> {
  const { attempts } = await call<{ attempts: { attempt: number; log: string }[] }>(`${path(id)}/logs`, { query: { attempt } });
  return attempts.find((one) => one.attempt === attempt)?.log ?? "";
}

export async function readEvents(id: string, signal?: AbortSignal): Promise<JobEvent[]> {
  return (await call<{ events: JobEvent[] }>(`${path(id)}/events`, { signal })).events;
}

export const cancelJob = (id: string): Promise<Job> => call(`${path(id)}/cancel`, { method: "POST" });

export const retryJob = (id: string): Promise<Job> => call(`${path(id)}/retry`, { method: "POST", headers: { "Idempotency-Key": freshKey() } });

/** Files go beside the options; what has no file goes in `options.inputs`. */
export function submitJob(model: string, options: Record<string, unknown>, files: Record<string, Blob>, key: string): Promise<Job> {
  const form = new FormData();
  form.set("model", model);
  form.set("options", JSON.stringify(options));
  for (const [name, file] of Object.entries(files)) form.set(name, file, file instanceof File ? file.name : name);
  return call("v1/jobs", { method: "POST", form, headers: { "Idempotency-Key": key }, timeoutMs: SUBMIT_MS });
}

/** Addresses of this very origin, whatever store the bytes lie in: the page's policy allows no other. */
export const inputAddress = (id: string, name: string): string => address(`${path(id)}/inputs/${encodeURIComponent(name)}`).href;
export const outputAddress = (id: string, name: string): string => address(`${path(id)}/outputs/${encodeURIComponent(name)}`, { through: "gateway" }).href;

export async function readInputFile(id: string, name: string): Promise<File> {
  const response = await send(`${path(id)}/inputs/${encodeURIComponent(name)}`, { timeoutMs: SUBMIT_MS });
  const blob = await response.blob();
  return new File([blob], name, { type: blob.type });
}

export async function listModels(signal?: AbortSignal): Promise<Model[]> {
  return (await call<{ models: Model[] }>("v1/models", { signal })).models;
}

export async function listStatistics(window_s: number, scope: string | null, signal?: AbortSignal): Promise<ModelStatistics[]> {
  return (await call<{ models: ModelStatistics[] }>("v1/models/statistics", { query: { window_s, scope }, signal })).models;
}

export const listFailures = (query: Query, signal?: AbortSignal): Promise<FailuresPage> => call("v1/failures", { query, signal });

export const readFailure = (fingerprint: string, query: Query, signal?: AbortSignal): Promise<FailureDetail> =>
  call(`v1/failures/${encodeURIComponent(fingerprint)}`, { query, signal });

export const draftBulk = (action: BulkAction, filter: BulkFilter, priority?: number): Promise<Bulk> =>
  call("v1/bulk", { method: "POST", body: { action, filter, ...(priority === undefined ? {} : { priority }) } });

export const startBulk = (id: string, word: string | null): Promise<Bulk> => call(`v1/bulk/${id}/start`, { method: "POST", body: word === null ? {} : { confirm: word } });
export const readBulk = (id: string): Promise<Bulk> => call(`v1/bulk/${id}`);
export const abortBulk = (id: string): Promise<Bulk> => call(`v1/bulk/${id}/abort`, { method: "POST" });

export const listAudit = (query: Query, signal?: AbortSignal): Promise<AuditPage> => call("v1/audit", { query, signal });
