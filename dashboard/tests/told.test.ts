import assert from "node:assert/strict";
import { test } from "node:test";
import { heldModels, shownDevices } from "../src/pages/workers/told.ts";

const cutout = { name: "cutout", version: "1", engines: 1, load_s: 2.14, memory: 184_500_000 };
const plain = { name: "plain", version: "3", engines: 2, load_s: null, memory: null };
const gpu = { device: "cuda0", kind: "cuda", name: "NVIDIA L4", utilisation: 0.82, memory_used: 3e9, memory_total: 24e9 };

test("what a worker holds is told with what it took, as far as that is known", () => {
  assert.equal(heldModels({ silent: false, models: [cutout, plain] }), "cutout@1 (loaded in 2.14 s, 176 MiB), plain@3");
});

test("nothing told is a dash, nothing held is not", () => {
  assert.equal(heldModels({ silent: false, models: null }), "—");
  assert.equal(heldModels({ silent: false, models: [] }), "no model yet");
  assert.deepEqual(shownDevices({ silent: false, devices: null }), []);
});

test("of an offline worker nobody knows what it does", () => {
  assert.equal(heldModels({ silent: true, models: [cutout] }), "—");
  assert.deepEqual(shownDevices({ silent: true, devices: [gpu] }), [{ ...gpu, utilisation: null, memory_used: null }]);
  assert.deepEqual(shownDevices({ silent: false, devices: [gpu] }), [gpu]);
});
