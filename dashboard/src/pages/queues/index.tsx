import type { JSX } from "preact";

export function Queues(): JSX.Element {
  return <h1>queues</h1>;
}
