/** The query bar: qualifiers with suggestions, and a pasted id jumps to its job. */

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { catalog, wantCatalog } from "../../catalog.ts";
import { parse, QUALIFIERS, RETRIED, STATES, suggest, write, type Filter } from "../../query/query.ts";
import { go, setQuery } from "../../router.ts";

const AGES = [">5m", ">1h", "<1h", "<24h"];
const PRIORITIES = Array.from({ length: 11 }, (_, n) => String(10 - n));
const ERRORS = ["algorithm_error", "bad_input", "input_unavailable", "timeout", "worker_lost", "out_of_memory", "model_unavailable", "store_error"];

export function QueryBar({ filter }: { filter: Filter }): JSX.Element {
  const said = write(filter);
  const text = useSignal(said);
  const problems = useSignal<string[]>([]);
  const chosen = useSignal(-1);
  const shown = useSignal(false);
  const input = useRef<HTMLInputElement>(null);
  wantCatalog();
  useEffect(() => {
    text.value = said;
    problems.value = [];
  }, [said]);
  const models = catalog.value;
  const values = { state: STATES, model: models.map((model) => model.name), queue: [...new Set(models.map((model) => model.queue))], priority: PRIORITIES, age: AGES, ended: AGES, error: ERRORS, retried: RETRIED };
  const offers = shown.value ? suggest(text.value, values) : [];
  const take = (offer: string): void => {
    const whole = !offer.endsWith(":");
    text.value = whole ? `${offer} ` : offer;
    chosen.value = -1;
    input.current?.focus();
    if (whole) submit();
  };
  const submit = (): void => {
    const parsed = parse(text.value);
    problems.value = parsed.problems;
    if (parsed.id) return go(["jobs", parsed.id]);
    if (!parsed.problems.length) setQuery({ ...Object.fromEntries(QUALIFIERS.map((name) => [name, parsed.filter[name] ?? null])), cursor: null });
  };
  const pressed = (event: KeyboardEvent): void => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const by = event.key === "ArrowDown" ? 1 : -1;
      chosen.value = Math.max(-1, Math.min(offers.length - 1, chosen.value + by));
    } else if (event.key === "Tab" && !event.shiftKey && offers.length && text.value && chosen.value >= 0) {
      event.preventDefault();
      take(offers[chosen.value]!);
    } else if (event.key === "Escape") {
      if (shown.value && offers.length) shown.value = false;
      else input.current?.blur();
    }
  };
  return (
    <form
      class="query"
      role="search"
      onSubmit={(event) => {
        event.preventDefault();
        if (chosen.value >= 0 && offers[chosen.value]) take(offers[chosen.value]!);
        else {
          shown.value = false;
          submit();
        }
      }}
    >
      <input
        ref={input}
        data-search
        type="search"
        role="combobox"
        aria-label="Filter jobs"
        aria-expanded={offers.length > 0}
        aria-controls="offers"
        aria-activedescendant={chosen.value >= 0 ? `offer-${chosen.value}` : undefined}
        aria-autocomplete="list"
        placeholder="state:failed model:cutout age:>5m — or paste an id"
        autoComplete="off"
        spellcheck={false}
        value={text.value}
        onInput={(event) => {
          text.value = event.currentTarget.value;
          chosen.value = -1;
          shown.value = true;
        }}
        onFocus={() => (shown.value = true)}
        onBlur={() => setTimeout(() => (shown.value = false), 150)}
        onPaste={(event) => {
          const id = parse(event.clipboardData?.getData("text") ?? "").id;
          if (id) {
            event.preventDefault();
            go(["jobs", id]);
          }
        }}
        onKeyDown={pressed}
      />
      <ul id="offers" role="listbox" aria-label="Suggestions" hidden={!offers.length}>
        {offers.map((offer, index) => (
          <li key={offer} id={`offer-${index}`} role="option" aria-selected={index === chosen.value} onMouseDown={(event) => event.preventDefault()} onClick={() => take(offer)}>
            {offer.split(" ").at(-1)}
          </li>
        ))}
      </ul>
      {problems.value.map((problem) => (
        <p key={problem} class="notice warn" role="alert" dir="auto">
          {problem}
        </p>
      ))}
    </form>
  );
}
