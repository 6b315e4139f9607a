/** Light or dark: as the system has it, or as chosen here. Charts are drawn anew when it changes. */

import { effect, signal } from "@preact/signals";

export type Theme = "light" | "dark";

const KEY = "leveret.theme";
const system = matchMedia("(prefers-color-scheme: dark)");

function kept(): Theme | null {
  try {
    const said = localStorage.getItem(KEY);
    return said === "light" || said === "dark" ? said : null;
  } catch {
    return null; // storage may be forbidden; then the system decides
  }
}

const chosen = signal<Theme | null>(kept());
export const theme = signal<Theme>("light");

const follow = (): void => {
  theme.value = chosen.peek() ?? (system.matches ? "dark" : "light");
};
system.addEventListener("change", follow);
follow();
effect(() => {
  document.documentElement.dataset["theme"] = theme.value;
});

export function toggleTheme(): void {
  chosen.value = theme.value === "dark" ? "light" : "dark";
  try {
    localStorage.setItem(KEY, chosen.value);
  } catch {
    // chosen for this visit only
  }
  follow();
}

/** A colour of the theme in force, for canvases. */
export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim() || "#888";
}
