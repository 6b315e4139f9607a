/** A table of 32 px rows: j/k move, Enter opens, x selects. Below 720 px a row becomes two lines by CSS alone. */

import { useSignal, type Signal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { useRef } from "preact/hooks";
import { useKeys } from "../keys.ts";

export interface Column<Row> {
  name: string;
  label: ComponentChildren;
  cell: (row: Row) => ComponentChildren;
  /** Numbers stand right-aligned. */
  right?: boolean;
  /** On the first of the two lines of a narrow screen. */
  first?: boolean;
  /** Takes what is left of the width. */
  wide?: boolean;
}

interface Props<Row> {
  label: string;
  columns: Column<Row>[];
  rows: readonly Row[];
  name: (row: Row) => string;
  open?: (row: Row) => void;
  /** Names of the selected rows; without it nothing can be selected. */
  selection?: Signal<ReadonlySet<string>>;
  /** Whether a row is shown as past, dimmed. */
  past?: (row: Row) => boolean;
  hovering?: Signal<boolean>;
  /** The row that the address means. */
  at?: string | null;
}

export function toggled(set: ReadonlySet<string>, name: string): ReadonlySet<string> {
  const changed = new Set(set);
  if (!changed.delete(name)) changed.add(name);
  return changed;
}

export function Table<Row>(props: Props<Row>): JSX.Element {
  const { columns, rows, name, selection } = props;
  const current = useSignal(props.at ? rows.findIndex((row) => name(row) === props.at) : -1);
  const body = useRef<HTMLTableSectionElement>(null);
  const move = (by: number): void => {
    current.value = Math.max(0, Math.min(rows.length - 1, current.value + by));
    const row = body.current?.rows[current.value];
    row?.focus({ preventScroll: true });
    row?.scrollIntoView({ block: "nearest" });
  };
  const select = (row: Row | undefined): void => {
    if (row && selection) selection.value = toggled(selection.value, name(row));
  };
  useKeys({
    j: () => move(1),
    k: () => move(-1),
    x: () => select(rows[current.value]),
    Enter: () => rows[current.value] && props.open?.(rows[current.value]!),
  });
  return (
    <table class="rows" aria-label={props.label} onMouseEnter={() => props.hovering && (props.hovering.value = true)} onMouseLeave={() => props.hovering && (props.hovering.value = false)}>
      <thead>
        <tr>
          {selection && (
            <th class="pick">
              <All rows={rows} name={name} selection={selection} />
            </th>
          )}
          {columns.map((column) => (
            <th key={column.name} scope="col" class={classOf(column)}>
              {column.label}
            </th>
          ))}
        </tr>
      </thead>
      <tbody ref={body}>
        {rows.map((row, index) => (
          <Line key={name(row)} {...props} row={row} current={current.value === index} point={() => (current.value = index)} select={() => select(row)} />
        ))}
      </tbody>
    </table>
  );
}

const classOf = (column: Pick<Column<never>, "name" | "right" | "first" | "wide">): string =>
  `c-${column.name} ${column.right ? "right" : ""} ${column.first ? "first" : ""} ${column.wide ? "wide" : ""}`;

function All<Row>({ rows, name, selection }: { rows: readonly Row[]; name: (row: Row) => string; selection: Signal<ReadonlySet<string>> }): JSX.Element {
  const all = rows.length > 0 && rows.every((row) => selection.value.has(name(row)));
  return <input type="checkbox" aria-label="Select all rows shown" checked={all} onChange={() => (selection.value = all ? new Set() : new Set(rows.map(name)))} />;
}

interface LineProps<Row> extends Props<Row> {
  row: Row;
  current: boolean;
  point: () => void;
  select: () => void;
}

function Line<Row>({ row, columns, name, open, selection, past, current, point, select }: LineProps<Row>): JSX.Element {
  const picked = selection?.value.has(name(row)) ?? false;
  const clicked = (event: MouseEvent): void => {
    point();
    if (!(event.target as HTMLElement).closest("a,button,input,label") && !getSelection()?.toString()) open?.(row);
  };
  return (
    <tr tabIndex={-1} data-name={name(row)} class={`${current ? "current" : ""} ${picked ? "picked" : ""} ${past?.(row) ? "past" : ""} ${open ? "opens" : ""}`} aria-selected={selection ? picked : undefined} onClick={clicked}>
      {selection && (
        <td class="pick">
          <input type="checkbox" aria-label={`Select ${name(row)}`} checked={picked} onChange={select} />
        </td>
      )}
      {columns.map((column) => (
        <td key={column.name} class={classOf(column)} data-label={typeof column.label === "string" ? column.label : undefined}>
          {column.cell(row)}
        </td>
      ))}
    </tr>
  );
}
