/** The shapes of the gateway's answers that the pages read. Moments are RFC 3339 in UTC; null is "not known", never 0. */

export type State = "waiting" | "queued" | "running" | "succeeded" | "failed" | "canceled" | "expired";
export type Role = "user" | "operator";
export type Moment = string;

export interface Session {
  tenant: string;
  role: Role;
  name: string;
  csrf: string;
  expires_at: Moment | null;
  /** Of all prices. */
  currency?: string;
  /** Where operators find the metrics' boards. */
  grafana?: string | null;
  server_time?: Moment;
}

export interface JobError {
  code: string;
  message: string;
  type?: string;
  traceback?: string;
}

/** A job in a list: no inputs, outputs, params or metadata. */
export interface JobRow {
  id: string;
  seq: number;
  state: State;
  model: string;
  model_version: string;
  queue: string;
  priority: number;
  attempt: number;
  max_attempts: number;
  worker: string | null;
  progress: number;
  cancel_requested: boolean;
  queue_reason: string | null;
  queue_position?: number | null;
  error: JobError | null;
  created_at: Moment;
  run_at: Moment | null;
  queued_at: Moment | null;
  started_at: Moment | null;
  finished_at: Moment | null;
  retry_of?: string | null;
  tenant?: string;
  fingerprint?: string | null;
  /** In the queue before the latest start, or so far. */
  wait_s?: number | null;
  /** Of the latest attempt, so far while it runs. */
  run_s?: number | null;
}

export interface JobsPage {
  jobs: JobRow[];
  next_cursor: string | null;
  /** A rare filter: so far back was looked, and no further. */
  searched_to: Moment | null;
  server_time: Moment;
}

/** `more`: at least so many. */
export interface Count {
  n: number;
  more: boolean;
}

export type JobCounts = Record<State, Count>;

export interface Output {
  uri: string;
  url: string;
  content_type: string;
  size: number;
  sha256: string;
  metadata: Record<string, unknown>;
}

/** One input as it was given: exactly one of its fields. */
export interface Input {
  uri?: string;
  json?: unknown;
  content_type?: string;
}

export interface Job extends JobRow {
  done: boolean;
  inputs: Record<string, Input>;
  params: Record<string, unknown>;
  metadata: Record<string, unknown>;
  outputs: Record<string, Output>;
  timings: Record<string, number>;
  estimated_start_at: Moment | null;
  trace: Trace | null;
  urls: Record<string, string>;
}

/** `recorded`: whether its spans are kept anywhere. */
export interface Trace {
  id: string;
  recorded: boolean;
}

export interface JobEvent {
  seq: number;
  job_id: string;
  type: string;
  at: Moment;
  data: Record<string, unknown>;
}

export interface Attempt {
  attempt: number;
  fence: number;
  worker: string;
  device: string | null;
  host: string | null;
  outcome: string;
  started_at: Moment;
  finished_at: Moment | null;
  run_s: number | null;
  timings: Record<string, number>;
  batch_size: number | null;
  error: JobError | null;
  log_bytes: number | null;
  /** Its share of the machine, and of the GPU, in seconds. */
  machine_s?: number | null;
  gpu_s?: number | null;
  cost?: number | string | null;
}

export interface ModelInput {
  kind: "image" | "bytes" | "json" | "text" | "audio" | string;
  required?: boolean;
  description?: string;
  content_types?: string[];
  max_bytes?: number;
}

export interface ParamSchema {
  type?: string;
  default?: unknown;
  minimum?: number;
  maximum?: number;
  enum?: unknown[];
  description?: string;
}

export interface Model {
  name: string;
  version: string;
  description: string;
  queue: string;
  timeout_s: number;
  max_attempts: number;
  inputs: Record<string, ModelInput>;
  outputs: Record<string, { kind: string; content_type?: string; description?: string }>;
  params: { properties?: Record<string, ParamSchema>; required?: string[] };
}

export interface Percentiles {
  n: number;
  p50: number | null;
  p95: number | null;
  /** null below 100 samples. */
  p99: number | null;
}

export interface ModelStatistics {
  name: string;
  window_s: number;
  n: number;
  more: boolean;
  wait: Percentiles;
  load: Percentiles;
  run: Percentiles;
  ended: Record<Ending, number>;
  errors: { code: string; count: number }[];
  error_rate: number | null;
  cold_starts: number | null;
  batch_size_p50: number | null;
  memory: number | null;
}

export type Level = "ok" | "warn" | "bad" | "unknown";

export interface Finding {
  level: Level;
  code: string;
  sentence: string;
  cause: string | null;
  command: string | null;
  page: string | null;
  subject: string | null;
}

export interface Stat {
  value: number | null;
  points: (number | null)[];
  total?: number | null;
  currency?: string | null;
}

export interface Decision {
  id: number;
  queue?: string;
  at: Moment;
  want: number | null;
  have: number;
  reason: string;
  actions: { launch: number; drain: string[]; terminate: string[] };
  inputs?: Record<string, unknown>;
}

export interface Overview {
  at: Moment;
  scope: "all" | "tenant";
  health: Finding;
  findings: Finding[];
  stats: Record<string, Stat | undefined>;
  step_s: number;
  window_s: number;
  n: Record<string, number | undefined>;
  backlog: { queue: string; priority: number; waiting: number; running: number; oldest_s: number | null }[];
  totals: { waiting: number | null; running: number | null; scheduled: number | null };
  errors: { code: string; model: string; /** Failed their job. */ count: number; retried: number; last_at: Moment; message: string | null }[];
  unwell: { id: string; queue: string; why: string; sentence: string; heartbeat_s: number | null; jobs: string[] }[];
  decisions: Decision[];
}

/** Step by step, oldest first. */
export interface Lines {
  p50: (number | null)[];
  p95: (number | null)[];
  p99: (number | null)[];
}

/** How attempts ended; `retried`: it failed and was repeated; `expired` are jobs that had none. */
export type Ending = "succeeded" | "failed" | "retried" | "canceled" | "expired";

export interface History {
  from: Moment;
  step_s: number;
  n: number[];
  /** The step held more attempts than were looked at. */
  more: boolean[];
  wait: Lines;
  run: Lines;
  ended: Record<Ending, number[]>;
  backlog: { seen: boolean[]; queues: { queue: string; points: (number | null)[] }[] } | null;
}

export interface Counts {
  waiting: number;
  running: number;
  oldest_s: number | null;
}

export interface QueueRow extends Counts {
  queue: string;
  offered: boolean;
  scheduled: number;
  classes: Record<"high" | "normal" | "low", Counts>;
  priorities: (Counts & { priority: number })[];
  ended_per_min: number | null;
  mean_s: number | null;
  eta_s: number | null;
  in_per_s?: number | null;
  out_per_s?: number | null;
  drain_low_s?: number | null;
  drain_high_s?: number | null;
  workers: { starting: number; ready: number; busy: number; draining: number; slots: number };
  scaler: Limits;
  paused?: boolean;
  paused_by?: string | null;
  paused_at?: Moment | null;
}

export interface Limits {
  min: number | null;
  max: number | null;
  paused: boolean;
  changed_by: string | null;
  changed_at: Moment | null;
}

export interface HeldJob {
  id: string;
  model: string;
  model_version: string;
  attempt: number;
  running_s: number;
}

export interface WorkerRow {
  id: string;
  queue: string;
  state: "starting" | "ready" | "draining";
  draining: boolean;
  silent: boolean;
  slots: number;
  busy: number;
  jobs: HeldJob[];
  host: string;
  device: string;
  started_at: Moment;
  since: Moment;
  heartbeat_s: number;
  /** Added by the page: when it got the row. */
  read_at?: number;
  /** Both null where it told nothing of them. */
  devices: DeviceRow[] | null;
  models: LoadedRow[] | null;
}

export interface LoadedRow {
  name: string;
  version: string;
  engines: number;
  load_s: number | null;
  memory: number | null;
}

export interface DeviceRow {
  device: string;
  kind: string;
  name: string | null;
  utilisation: number | null;
  memory_used: number | null;
  memory_total: number | null;
}

/** A number of workers before and after the limits. */
export interface Wanted {
  want: number | null;
  asked: number | null;
  bound: "max" | "min" | "jobs" | null;
}

export interface InForce {
  min: number;
  max: number;
  min_by: "settings" | "order";
  max_by: "settings" | "order";
}

export interface FleetSpan extends Wanted, InForce {
  at: Moment;
  until: Moment;
  /** Nobody looked before it. */
  gap_before: boolean;
  serving: number | null;
  starting: number | null;
  leaving: number | null;
}

export interface FleetRow extends Limits {
  queue: string;
  there: { serving: number; starting: number; draining: number };
  limits: InForce | null;
  look: (Wanted & { at: Moment; since: Moment; fresh: boolean }) | null;
  latest: Decision | null;
}

export interface DecisionsPage {
  decisions: Decision[];
  next_cursor: number | null;
}

export interface Named {
  name: string;
  count: number;
}

export interface FailureGroup {
  fingerprint: string;
  code: string;
  type: string | null;
  message: string;
  count: number;
  /** Of these, what has a retry; the others are open. */
  retried: number;
  open: number;
  first_at: Moment;
  last_at: Moment;
  points: (number | null)[];
  models: Named[];
  workers: Named[];
  queues: Named[];
  sample_job: string;
  /** The newest that was not retried. */
  open_job: string | null;
}

export interface FailuresPage {
  groups: FailureGroup[];
  since: Moment;
  bucket_s: number;
  /** Only the newest failures were looked at. */
  more: boolean;
}

export interface FailureDetail extends FailureGroup {
  traceback: string;
  attempt: number | null;
  jobs: JobRow[];
  filter: BulkFilter;
  bucket_s: number;
}

export type BulkAction = "retry" | "cancel" | "prioritise";
export type BulkFilter = Record<string, string | string[]>;

/** An action on many jobs, frozen by the gateway when it was asked for. */
export interface Bulk {
  id: string;
  action: BulkAction;
  filter: BulkFilter;
  priority: number | null;
  count: number;
  /** Fit as well, and were retried before. */
  left_out: number;
  state: "draft" | "running" | "done" | "aborted" | "failed";
  done: number;
  skipped: number;
  failed: number;
  confirm_needed: boolean;
  confirm_word: string | null;
  consequence: string;
  error: string | null;
  created_by: string;
  created_at: Moment;
}

export interface ApiKey {
  id: string;
  tenant: string;
  name: string;
  role: Role;
  prefix: string;
  created_at: Moment;
  last_used_at: Moment | null;
  expires_at: Moment | null;
  revoked_at: Moment | null;
  mine: boolean;
}

export interface Settings {
  version: string;
  limits: Record<string, number | null>;
  retention: Record<string, number | null>;
  settings: { name: string; value: unknown; secret?: boolean; default: boolean }[];
}

export interface AuditEntry {
  id: number;
  at: Moment;
  by: string;
  action: string;
  target: string | null;
  count: number | null;
  detail: unknown;
}

export interface AuditPage {
  entries: AuditEntry[];
  next_cursor: string | null;
}
