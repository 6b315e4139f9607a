import assert from "node:assert/strict";
import { test } from "node:test";
import { lately, parameters, parse, suggest, write } from "../src/query/query.ts";

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

test("priority, fingerprint, retries and the end are qualifiers", () => {
  const said = "priority:9 fingerprint:9f86d081884c7d65 retried:no ended:<1h";
  const { filter, problems } = parse(said);
  assert.deepEqual(filter, { priority: "9", fingerprint: "9f86d081884c7d65", retried: "no", ended: "<1h" });
  assert.deepEqual(problems, []);
  assert.equal(write(filter), said);
  assert.equal(parse("priority:11 retried:maybe ended:1h age:>1.5h").problems.length, 4);
});

test("a window is said as the end that lies in it", () => {
  assert.deepEqual([600, 3600, 86400, 604800, 90, 45].map(lately), ["<10m", "<1h", "<1d", "<7d", "<90s", "<45s"]);
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
