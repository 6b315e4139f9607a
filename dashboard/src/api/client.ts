/** The one way to the gateway: relative addresses, a time limit on every call, every failure an ApiProblem. */

export interface FieldProblem {
  path: string;
  message: string;
}

/** What went wrong: the gateway's problem+json, or what this page itself saw (`offline`, `timeout`, `no_json`). */
export class ApiProblem extends Error {
  readonly status: number;
  readonly code: string;
  readonly requestId: string | null;
  readonly fields: FieldProblem[];

  constructor(status: number, code: string, detail: string, requestId: string | null = null, fields: FieldProblem[] = []) {
    super(detail);
    this.status = status;
    this.code = code;
    this.requestId = requestId;
    this.fields = fields;
  }
}

export interface Call {
  method?: "GET" | "POST" | "PUT" | "DELETE";
  /** A list is said once per value; what is empty is left out. */
  query?: Record<string, string | number | readonly string[] | null | undefined>;
  /** Sent as JSON. */
  body?: unknown;
  /** Sent as multipart, instead of `body`. */
  form?: FormData;
  headers?: Record<string, string>;
  signal?: AbortSignal;
  timeoutMs?: number;
}

/** Set by the session: who pays with the cookie proves by this token that the page is ours. */
export const access = { csrf: "", expired: (): void => {} };

const TIMEOUT_MS = 15_000;

/** Where a call goes; the page may stand behind a path of somebody's proxy. */
export function address(path: string, query: Call["query"] = {}): URL {
  const url = new URL(path, document.baseURI);
  url.hash = "";
  for (const [name, value] of Object.entries(query)) {
    const values = value === null || value === undefined || value === "" ? [] : Array.isArray(value) ? value : [value];
    for (const each of values) url.searchParams.append(name, String(each));
  }
  return url;
}

/** Call the API and read its JSON; undefined for 204. */
export async function call<T>(path: string, options: Call = {}): Promise<T> {
  const response = await send(path, options);
  if (response.status === 204) return undefined as T;
  try {
    return (await response.json()) as T;
  } catch {
    throw new ApiProblem(response.status, "no_json", "the answer could not be read");
  }
}

/** The same, for whoever wants the bytes. */
export async function send(path: string, options: Call = {}): Promise<Response> {
  const limit = AbortSignal.timeout(options.timeoutMs ?? TIMEOUT_MS);
  const signal = options.signal ? AbortSignal.any([limit, options.signal]) : limit;
  let response: Response;
  try {
    response = await fetch(address(path, options.query), request(options, signal));
  } catch (error) {
    throw unreached(error, limit);
  }
  if (!response.ok) throw await refused(response);
  return response;
}

function request(options: Call, signal: AbortSignal): RequestInit {
  const method = options.method ?? "GET";
  const headers: Record<string, string> = { Accept: "application/json", ...options.headers };
  if (method !== "GET") headers["X-CSRF-Token"] = access.csrf;
  if (options.body !== undefined) headers["Content-Type"] = "application/json";
  const body = options.form ?? (options.body === undefined ? undefined : JSON.stringify(options.body));
  return { method, headers, body, signal, credentials: "same-origin", cache: "no-store" };
}

function unreached(error: unknown, limit: AbortSignal): unknown {
  if (limit.aborted) return new ApiProblem(0, "timeout", "the gateway did not answer in time");
  if (error instanceof DOMException && error.name === "AbortError") return error;
  return new ApiProblem(0, "offline", "the gateway cannot be reached");
}

async function refused(response: Response): Promise<ApiProblem> {
  const said = (await response.json().catch(() => ({}))) as Record<string, unknown>;
  const text = (name: string): string | null => (typeof said[name] === "string" ? said[name] : null);
  const problem = new ApiProblem(
    response.status,
    text("code") ?? `http_${response.status}`,
    text("detail") ?? text("title") ?? response.statusText,
    text("request_id") ?? response.headers.get("X-Request-ID"),
    Array.isArray(said["errors"]) ? (said["errors"] as FieldProblem[]) : [],
  );
  if (problem.code === "unauthorized") access.expired();
  return problem;
}

export const aborted = (error: unknown): boolean => error instanceof DOMException && error.name === "AbortError";

/** Any failure as a problem that can be shown. */
export function asProblem(error: unknown): ApiProblem {
  if (error instanceof ApiProblem) return error;
  return new ApiProblem(0, "page_error", error instanceof Error ? error.message : String(error));
}

/** A key for repeats; `crypto.randomUUID` is missing where the page came over plain HTTP from another machine. */
export function freshKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
