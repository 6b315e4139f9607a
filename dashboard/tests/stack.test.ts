import { deepEqual } from "node:assert/strict";
import { test } from "node:test";
import { largest, lone, shares, stacked } from "../src/parts/stack.ts";

test("lines stand on each other, and a gap holds nothing up", () => {
  deepEqual(stacked([[1, 2, null], [3, null, 4]]), [[1, 2, null], [4, null, 4]]);
});

test("shares add up to one where there is anything", () => {
  deepEqual(shares([[1, 0], [3, 0]]), [[0.25, null], [0.75, null]]);
});

test("the small ones become one, gaps stay gaps", () => {
  const lines = [
    { name: "b", points: [9, 9, null] },
    { name: "c", points: [1, 0, null] },
    { name: "a", points: [5, 5, null] },
    { name: "d", points: [2, 1, null] },
  ];
  deepEqual(largest(lines, 3, "others"), [
    { name: "a", points: [5, 5, null] },
    { name: "b", points: [9, 9, null] },
    { name: "others", points: [3, 1, null] },
  ]);
  deepEqual(largest(lines, 4, "others"), lines);
});

test("a point without neighbours is alone", () => {
  deepEqual(lone([1, null, 2, 3, null, 0]), [0, 5]);
  deepEqual(lone([7]), [0]);
  deepEqual(lone([null]), []);
});
