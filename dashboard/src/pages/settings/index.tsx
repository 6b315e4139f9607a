import type { JSX } from "preact";

export function SettingsPage(): JSX.Element {
  return <h1>settings</h1>;
}
