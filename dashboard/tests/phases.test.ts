import assert from "node:assert/strict";
import { test } from "node:test";
import type { Job } from "../src/api/types.ts";
import { outcome, ran, waited } from "../src/pages/job/phases.ts";

const START = Date.parse("2026-11-22T09:00:00Z");
const moment = (s: number): string => new Date(START + s * 1000).toISOString();
const AT = START + 60_000;

type Told = Pick<Job, "state" | "created_at" | "queued_at" | "started_at" | "finished_at" | "timings">;
const job = (told: Partial<Told>): Told => ({ state: "queued", created_at: moment(0), queued_at: moment(0), started_at: null, finished_at: null, timings: {}, ...told });
const phases = (told: Partial<Told>): (number | null)[] => [waited(job(told), AT), ran(job(told), AT)];

test("a job in its first queue waits, one at work runs, one that ended did both", () => {
  assert.deepEqual(phases({}), [60, null]);
  assert.deepEqual(phases({ state: "running", started_at: moment(10) }), [10, 50]);
  assert.deepEqual(phases({ state: "succeeded", started_at: moment(10), finished_at: moment(15), timings: { queue_s: 9.5 } }), [9.5, 5]);
});

test("a job that waits again after a lost attempt does not run, and waits since it came back", () => {
  assert.deepEqual(phases({ queued_at: moment(20), started_at: moment(5), timings: { queue_s: 5 } }), [40, null]);
  assert.deepEqual(phases({ state: "canceled", queued_at: moment(20), started_at: moment(5), finished_at: moment(50) }), [30, null]);
});

test("a job whose time has not come is in no queue", () => {
  assert.deepEqual(phases({ state: "waiting", queued_at: null }), [null, null]);
  assert.deepEqual(phases({ state: "waiting", started_at: moment(5), timings: { queue_s: 5 } }), [null, null]);
});

test("an attempt that failed with another to come did not wait: it failed", () => {
  assert.equal(outcome({ outcome: "waiting" }), "failed, to be run again");
  assert.equal(outcome({ outcome: "worker_lost" }), "worker lost");
  assert.equal(outcome({ outcome: "succeeded" }), "succeeded");
});
