import assert from "node:assert/strict";
import { test } from "node:test";
import { parameters, parse, suggest, write } from "../src/query/query.ts";

test("qualifiers, quoted values and states become a filter", () => {
  const { filter, problems } = parse('state:failed,expired model:cutout error:"out of memory" age:>5m');
  assert.deepEqual(filter, { state: "failed,expired", model: "cutout", error: "out of memory", age: ">5m" });
  assert.deepEqual(problems, []);
});

test("a pasted id is found wherever it stands", () => {
  assert.equal(parse("  019826A1-7c1e-7d2b-9a55-3f0c8c1f2b6e ").id, "019826a1-7c1e-7d2b-9a55-3f0c8c1f2b6e");
});

test("what is not understood is said, and nothing of it is guessed", () => {
  const { filter, problems } = parse("stat:failed age:5m state:broken banana model:");
  assert.deepEqual(filter, {});
  assert.equal(problems.length, 5);
});

test("what is written is read as the same filter, whatever is in it", () => {
  for (const model of ["cutout", "two words", 'a "quoted\\ one', "عربي", "🐇", "a:b"]) {
    assert.deepEqual(parse(write({ state: "running", model })).filter, { state: "running", model });
  }
});

test("suggestions are qualifiers first, then known values", () => {
  assert.deepEqual(suggest("mo", {}), ["model:"]);
  assert.deepEqual(suggest("state:failed model:cu", { model: ["cutout", "faces"] }), ["state:failed model:cutout"]);
  assert.deepEqual(suggest("model:cutout", { model: ["cutout"] }), []);
});

test("several states are several parameters", () => {
  assert.deepEqual(parameters({ state: "failed,expired", queue: "images" }), { state: ["failed", "expired"], queue: "images" });
});
