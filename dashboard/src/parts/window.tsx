/** How far back figures go; the address holds it. */

import type { JSX } from "preact";
import { route, setQuery } from "../router.ts";

const WINDOWS: Record<string, string> = { 600: "10 min", 3600: "1 h", 86400: "24 h", 604800: "7 d" };
const HOUR_S = 3600;

/** Seconds. */
export const windowOf = (): number => {
  const asked = route.value.query.get("window") ?? "";
  return asked in WINDOWS ? Number(asked) : HOUR_S;
};

export function WindowChoice(): JSX.Element {
  return (
    <label class="inline">
      over the last{" "}
      <select value={String(windowOf())} onChange={(event) => setQuery({ window: event.currentTarget.value }, { replace: true })}>
        {Object.entries(WINDOWS).map(([seconds, text]) => (
          <option key={seconds} value={seconds}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}
