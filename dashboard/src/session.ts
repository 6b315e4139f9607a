/** Who is logged in. The key itself is never kept by the page: the gateway answers it with a cookie no script can read. */

import { signal } from "@preact/signals";
import { access, ApiProblem, call } from "./api/client.ts";
import type { Session } from "./api/types.ts";
import { setServerTime } from "./clock.ts";

/** undefined: not asked yet; null: nobody. */
export const session = signal<Session | null | undefined>(undefined);

/** The gateway could not say who we are. */
export const unreachable = signal<ApiProblem | null>(null);

/** Of all prices of this deployment. */
export const currencyOf = (): string => session.value?.currency ?? "USD";

/** A board of the installation's Grafana, where somebody said where that is. */
export function board(uid: string, query: Record<string, string> = {}): string | null {
  const base = session.value?.grafana;
  if (!base) return null;
  const asked = new URLSearchParams(query).toString();
  return `${base}/d/${uid}${asked && `?${asked}`}`;
}

export const operates = (): boolean => session.value?.role === "operator";

function enter(said: Session): void {
  access.csrf = said.csrf;
  if (said.server_time) setServerTime(said.server_time);
  session.value = said;
  unreachable.value = null;
}

access.expired = () => {
  if (session.peek()) session.value = null;
};

/** Ask whose cookie this is. */
export async function resume(): Promise<void> {
  try {
    enter(await call<Session>("v1/session"));
  } catch (error) {
    if (error instanceof ApiProblem && error.status === 401) session.value = null;
    else unreachable.value = error instanceof ApiProblem ? error : new ApiProblem(0, "page_error", String(error));
  }
}

export async function login(key: string): Promise<void> {
  enter(await call<Session>("v1/session", { method: "POST", body: { key } }));
}

export async function logout(): Promise<void> {
  try {
    await call<void>("v1/session", { method: "DELETE" });
  } finally {
    session.value = null;
  }
}
