import assert from "node:assert/strict";
import { test } from "node:test";
import type { FleetSpan } from "../src/api/types.ts";
import { drawn, visible } from "../src/pages/scaler/spans.ts";

const START = Date.parse("2026-11-22T09:00:00Z") / 1000;
const moment = (s: number): string => new Date((START + s) * 1000).toISOString();
const span = (from: number, to: number, told: Partial<FleetSpan> = {}): FleetSpan => ({
  at: moment(from),
  until: moment(to),
  gap_before: false,
  want: 1,
  asked: 1,
  bound: null,
  serving: 1,
  starting: 0,
  leaving: 0,
  min: 0,
  max: 4,
  min_by: "settings",
  max_by: "settings",
  ...told,
});
const after = (times: number[]): number[] => times.map((time) => Math.round(time - START));

test("a number holds until the next look, and to the last one", () => {
  const lines = drawn([span(0, 10), span(11, 20, { want: 3 })], START + 30, START + 31);
  assert.deepEqual(after(lines.times), [0, 10, 11, 20, 30]);
  assert.deepEqual(lines.wanted, [1, 1, 3, 3, 3]);
});

test("where nobody looked there is nothing", () => {
  const lines = drawn([span(0, 10), span(60, 70, { gap_before: true })], START + 70, START + 71);
  assert.deepEqual(lines.serving, [1, 1, null, 1, 1, 1]);
});

test("what is not known is a gap, the limits are known", () => {
  const lines = drawn([span(0, 10, { want: null, serving: null })], START + 10, START + 10);
  assert.deepEqual([lines.wanted[0], lines.serving[0], lines.most[0]], [null, null, 4]);
});

test("a scaler that looks no more has no present", () => {
  const lines = drawn([span(0, 10)], null, START + 90);
  assert.deepEqual(after(lines.times), [0, 10, 10, 90]);
  assert.deepEqual(lines.wanted, [1, 1, null, null]);
});

test("moments rise, also where one look is all there is", () => {
  const lines = drawn([span(0, 0), span(0, 0)], START, START);
  assert.ok(lines.times.every((time, index) => index === 0 || time > lines.times[index - 1]!));
});

test("a limit far above what is there would lay that on the ground", () => {
  const near = drawn([span(0, 10)], START + 10, START + 10);
  const far = drawn([span(0, 10, { max: 500 })], START + 10, START + 10);
  assert.deepEqual([visible(near.most, near), visible(far.most, far), visible(near.least, near)], [true, false, false]);
});
