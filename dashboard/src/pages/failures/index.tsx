import type { JSX } from "preact";

export function Failures(): JSX.Element {
  return <h1>failures</h1>;
}
