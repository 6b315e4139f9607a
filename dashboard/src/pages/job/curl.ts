/** A job as the submit that repeats it: same version, inputs, params, priority, metadata. Pure, tested by tests/curl.test.ts. */

import type { Input, Job } from "../../api/types.ts";

type Said = Pick<Job, "id" | "tenant" | "model" | "model_version" | "inputs" | "params" | "metadata" | "priority" | "max_attempts">;

/** Longer ones no shell takes as an argument. */
const MOST = 100_000;
const UPLOAD = /^s3:\/\/[^/]+\/([^/]+)\/uploads\/([0-9a-f-]{36})$/;
/** What JSON leaves as it is and a terminal does not show as it is. */
const UNSEEN = /[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

export function curl(job: Said, base: string): string {
  const head = `curl -H "Authorization: Bearer $LEVERET_API_KEY"`;
  const body = JSON.stringify(submission(job)).replace(UNSEEN, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`);
  if (body.length > MOST) return `${head} -X POST ${base}/v1/jobs/${job.id}/retry`;
  return `${head} -H "Content-Type: application/json" \\\n     -d '${body.replaceAll("'", "'\\''")}' ${base}/v1/jobs`;
}

function submission(job: Said): Record<string, unknown> {
  const inputs = Object.fromEntries(Object.entries(job.inputs).map(([name, input]) => [name, again(input, job.tenant)]));
  const { params, priority, max_attempts, metadata } = job;
  return { model: `${job.model}@${job.model_version}`, inputs, params, priority, max_attempts, ...(Object.keys(metadata).length ? { metadata } : {}) };
}

/** Bytes that came with a submit lie where uploads lie, and are named as one. */
function again(input: Input, tenant: string | undefined): Input | { upload_id: string } {
  const [, whose, upload_id] = UPLOAD.exec(input.uri ?? "") ?? [];
  return upload_id && (tenant === undefined || whose === tenant) ? { upload_id } : input;
}
