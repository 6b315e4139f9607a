import assert from "node:assert/strict";
import { test } from "node:test";
import { apply, merge, type Frame } from "../src/live/coalesce.ts";

const frame = (seq: number, rest: Partial<Frame> = {}): Frame => ({ seq, at: "2026-11-22T00:00:00Z", ...rest });

test("the latest row of each name survives a merge", () => {
  const merged = merge(frame(1, { jobs: [{ id: "a", seq: 1 }, { id: "b", seq: 1 }] }), frame(2, { jobs: [{ id: "a", seq: 2 }] }));
  assert.deepEqual(merged.jobs, [{ id: "a", seq: 2 }, { id: "b", seq: 1 }]);
  assert.equal(merged.seq, 2);
});

test("what one frame asks to be read anew is not forgotten by the next", () => {
  assert.deepEqual(merge(frame(1, { resync: ["jobs"] }), frame(2, { resync: ["queues"] })).resync, ["jobs", "queues"]);
  assert.deepEqual(merge(frame(1, { resync: ["jobs"] }), frame(2)).resync, ["jobs"]);
});

test("a worker that left and came back is there", () => {
  const merged = merge(frame(1, { gone: { workers: ["w"] } }), frame(2, { workers: [{ id: "w" }] }));
  assert.deepEqual(apply("workers", [{ id: "w" }], merged).length, 1);
});

test("rows keep their order, and an unchanged row is the same object", () => {
  const rows = [{ id: "a", seq: 1 }, { id: "b", seq: 1 }];
  const after = apply("jobs", rows, frame(1, { jobs: [{ id: "c", seq: 1 }, { id: "b", seq: 2 }] }), { grow: false });
  assert.deepEqual(after, [{ id: "a", seq: 1 }, { id: "b", seq: 2 }]);
  assert.equal(after[0], rows[0]);
});

test("an older delta changes nothing", () => {
  assert.deepEqual(apply("jobs", [{ id: "a", seq: 3 }], frame(1, { jobs: [{ id: "a", seq: 2 }] })), [{ id: "a", seq: 3 }]);
});

test("queues are known by their name, new ones come last, gone ones go", () => {
  const after = apply("queues", [{ queue: "x" }, { queue: "y" }], frame(1, { queues: [{ queue: "z" }], gone: { queues: ["x"] } }));
  assert.deepEqual(after, [{ queue: "y" }, { queue: "z" }]);
});
