import assert from "node:assert/strict";
import { test } from "node:test";
import { curl } from "../src/pages/job/curl.ts";

const JOB = {
  id: "019826a1-7c1e-7d2b-9a55-3f0c8c1f2b6e",
  tenant: "acme",
  model: "cutout",
  model_version: "2",
  inputs: { image: { uri: "s3://leveret/acme/uploads/019826a1-7c1e-7d2b-9a55-3f0c8c1f2b6e" } },
  params: { size: 256 },
  metadata: {},
  priority: 7,
  max_attempts: 3,
};

/** What the shell would hand to curl as its body. */
const bodyOf = (line: string): unknown => JSON.parse(/-d '(.*)' http/s.exec(line)![1]!.replaceAll("'\\''", "'"));

test("the line submits the same job again, by the same bytes", () => {
  const line = curl(JOB, "http://here");
  assert.match(line, /http:\/\/here\/v1\/jobs$/);
  assert.deepEqual(bodyOf(line), {
    model: "cutout@2",
    inputs: { image: { upload_id: "019826a1-7c1e-7d2b-9a55-3f0c8c1f2b6e" } },
    params: { size: 256 },
    priority: 7,
    max_attempts: 3,
  });
});

test("addresses and values of other kinds stay as they are", () => {
  const inputs = { a: { uri: "https://files.example.org/1.jpg" }, b: { json: { x: [1] } }, c: { uri: "s3://theirs/faces/1.jpg" } };
  assert.deepEqual((bodyOf(curl({ ...JOB, inputs }, "http://here")) as { inputs: unknown }).inputs, inputs);
});

test("nothing of a job leaves its quotes, and nothing in them is unseen", () => {
  const metadata = { note: "it's; rm -rf / \u001b[2J \u202eevil\u009b \n $(id) `id`" };
  const line = curl({ ...JOB, metadata }, "http://here");
  assert.deepEqual((bodyOf(line) as { metadata: unknown }).metadata, metadata);
  assert.doesNotMatch(line, /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
  assert.equal(line.split("\n").length, 2);
});

test("what is too long for a shell is repeated by the gateway", () => {
  const line = curl({ ...JOB, params: { text: "x".repeat(200_000) } }, "http://here");
  assert.match(line, /-X POST http:\/\/here\/v1\/jobs\/019826a1-7c1e-7d2b-9a55-3f0c8c1f2b6e\/retry$/);
});
