import type { JSX } from "preact";

export function ScalerPage(): JSX.Element {
  return <h1>scaler</h1>;
}
