import assert from "node:assert/strict";
import { test } from "node:test";
import { ago, bytes, bytesOf, count, duration, figures, money, percent, rate } from "../src/format.ts";

test("what is not known is a dash and never a zero", () => {
  for (const said of [figures(null), count(undefined), duration(null), bytes(null), rate(null), percent(null), money(null, "EUR"), ago(null, 0), duration(NaN)]) {
    assert.equal(said, "—");
  }
});

test("money is in the deployment's currency", () => {
  assert.deepEqual(["USD", "EUR", "CHF"].map((currency) => money(0.00412, currency)), ["$0.00412", "€0.00412", "CHF 0.00412"]);
});

test("three significant figures", () => {
  assert.deepEqual([0.012345, 1.2375, 12.375, 123.75, 1237.5, 9.999].map(figures), ["0.0123", "1.24", "12.4", "124", "1,238", "10"]);
});

test("durations carry the unit that fits", () => {
  assert.deepEqual(
    [0, 0.00004, 0.824, 0.99999, 1.24, 59.97, 192, 3600, 7500, 274_000].map(duration),
    ["0 s", "0.04 ms", "824 ms", "1 s", "1.24 s", "1 min", "3 min 12 s", "1 h", "2 h 5 min", "3 d 4 h"],
  );
});

test("bytes and rates", () => {
  assert.equal(bytes(19_540_000), "18.6 MiB");
  assert.equal(bytes(812), "812 B");
  assert.equal(bytesOf(18.2 * 1024 ** 3, 24 * 1024 ** 3), "18.2/24 GiB");
  assert.equal(bytesOf(21.4 * 1024 ** 2, 24 * 1024 ** 3), "21.4 MiB/24 GiB");
  assert.deepEqual([12.4, 0.5, 0.001].map((x) => rate(x)), ["12.4 jobs/s", "30 jobs/min", "3.6 jobs/h"]);
  assert.deepEqual([rate(0), rate(0, "jobs", 0.23), rate(0, "jobs", 0)], ["0 jobs/s", "0 jobs/min", "0 jobs/s"]);
});

test("a capped count says so", () => {
  assert.deepEqual([count(10_000, true), count(412), count(1_234_567)], ["10k+", "412", "1,234,567"]);
});

test("time is told by the server's clock, in one unit", () => {
  const now = Date.parse("2026-11-22T09:30:00Z");
  assert.equal(ago("2026-11-22T09:26:30Z", now), "3 min ago");
  assert.equal(ago("2026-11-22T09:31:00Z", now), "in 1 min");
  assert.equal(ago("not a time", now), "—");
});
