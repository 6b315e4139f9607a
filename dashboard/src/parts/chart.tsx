/** Charts on uPlot, loaded when the first one is shown. Gaps are gaps; marks (deploys, scaling) are vertical lines. */

import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type uPlot from "uplot";
import { colour, theme } from "../theme.ts";
import { lone } from "./stack.ts";

export interface Line {
  label: string;
  values: (number | null)[];
  /** A colour of the theme. */
  ink: string;
  kind?: "line" | "lines" | "dots" | "step" | "dashed" | "area" | "bars" | "points" | "stacked area" | "stacked bars";
  /** What the legend says, where `values` stand on other lines. */
  told?: readonly (number | null)[];
  /** A pattern on its colour. */
  marked?: "hatched" | "dotted";
}

interface Props {
  label: string;
  /** Seconds since the epoch, rising. */
  times: number[];
  lines: Line[];
  format: (value: number | null) => string;
  height?: number;
  /** Only whole numbers on the axis: things that are counted. */
  whole?: boolean;
  /** Moments to mark, in seconds since the epoch. */
  marks?: number[];
  /** Seconds to leave before the first moment and after the last one. */
  pad?: number;
}

type Plot = typeof uPlot;
let loading: Promise<Plot> | null = null;
const load = (): Promise<Plot> => (loading ??= Promise.all([import("uplot"), import("uplot/dist/uPlot.min.css")]).then(([{ default: plot }]) => plot));

const DASHES: Record<string, number[]> = { dashed: [5, 4], lines: [8, 3], dots: [2, 3] };
const standing = (line: Line): boolean => line.kind === "stacked area" || line.kind === "stacked bars";

/** Diagonal lines, or dots: told apart without colours. */
function pattern(kind: NonNullable<Line["marked"]>, ink: string, ground: string): CanvasPattern | string {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 6;
  const pen = tile.getContext("2d");
  if (!pen) return ink;
  pen.fillStyle = ink;
  pen.fillRect(0, 0, 6, 6);
  pen.strokeStyle = pen.fillStyle = ground;
  if (kind === "dotted") pen.fillRect(2, 2, 3, 3);
  else {
    for (const shift of [-6, 0, 6]) {
      pen.moveTo(shift, 6);
      pen.lineTo(shift + 6, 0);
    }
    pen.stroke();
  }
  return pen.createPattern(tile, "repeat") ?? ink;
}

/** Drawn from the top down, each over the one before, so what stands lower covers what stands on it. */
function onOthers(Plot: Plot, line: Line, told: () => Line | undefined, format: Props["format"]): uPlot.Series {
  const [ink, ground] = [colour(line.ink), colour("ground")];
  return {
    label: line.label,
    stroke: ground,
    width: 1,
    fill: line.marked ? pattern(line.marked, ink, ground) : ink,
    paths: line.kind === "stacked bars" ? Plot.paths.bars!({ size: [0.8, 24] }) : undefined,
    points: { show: false, filter: (plot, index) => (line.kind === "stacked bars" ? [] : lone(plot.data[index] as (number | null)[])), size: 5, stroke: ink, fill: ink },
    spanGaps: false,
    value: (_plot, _value, _series, at) => format(at === null ? null : (told()?.told?.[at] ?? null)),
  };
}

function series(Plot: Plot, line: Line, format: Props["format"]): uPlot.Series {
  const ink = colour(line.ink);
  const steps = line.kind === "step" || line.kind === "dashed";
  return {
    label: line.label,
    stroke: ink,
    width: 1.5,
    fill: line.kind === "area" || line.kind === "bars" ? `${ink}40` : undefined,
    dash: DASHES[line.kind ?? ""],
    paths: line.kind === "points" ? () => null : steps ? Plot.paths.stepped!({ align: 1 }) : line.kind === "bars" ? Plot.paths.bars!({ size: [0.8, 24] }) : undefined,
    points: line.kind === "points" ? { show: true, size: 7, stroke: ink, fill: ink } : { show: false, filter: (plot, index) => (steps ? [] : lone(plot.data[index] as (number | null)[])), size: 5, stroke: ink, fill: ink },
    spanGaps: false,
    value: (_plot, value) => format(value),
  };
}

/** What is drawn stands in `latest`: its figures change while the chart stays. */
function options(Plot: Plot, latest: () => Props, width: number): uPlot.Options {
  const { lines, format, height = 180, whole = false, pad } = latest();
  const axis = { stroke: colour("muted"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false } };
  return {
    width,
    height,
    cursor: { y: false, points: { size: 6 } },
    legend: { live: true, ...(lines.some(standing) ? { markers: { stroke: (_plot, index) => colour(lines[index - 1]?.ink ?? "ink"), fill: (_plot, index) => colour(lines[index - 1]?.ink ?? "ink") } } : {}) },
    scales: { x: pad ? { range: (_plot, low, high) => [low - (latest().pad ?? 0), high + (latest().pad ?? 0)] } : {}, y: { range: (_plot, _low, high) => [0, high > 0 ? high * 1.1 : 1] } },
    axes: [
      { ...axis, font: "11px system-ui", space: 80, values: (_plot, splits) => splits.map((split) => clockTime(split, splits)) },
      { ...axis, font: "11px system-ui", size: 64, incrs: whole ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] : undefined, values: (_plot, values) => values.map((value) => format(value)) },
    ],
    series: [{ label: "", value: (_plot, at) => (at === null ? "" : new Date(at * 1000).toLocaleString("en-CA", { hourCycle: "h23" })) }, ...lines.map((line, index) => (standing(line) ? onOthers(Plot, line, () => latest().lines[index], format) : series(Plot, line, format)))],
    hooks: { draw: [(plot) => drawMarks(plot, latest().marks ?? [])], setLegend: [tellLast] },
  };
}

const DAY_S = 86_400;
const two = (n: number): string => String(n).padStart(2, "0");

/** 24 hours; the date where a day begins or the range is of days. */
function clockTime(at: number, splits: number[]): string {
  const moment = new Date(at * 1000);
  const step = (splits[1] ?? at) - (splits[0] ?? at);
  const time = `${two(moment.getHours())}:${two(moment.getMinutes())}`;
  if (step >= DAY_S || time === "00:00") return `${two(moment.getMonth() + 1)}-${two(moment.getDate())}`;
  return step < 60 ? `${time}:${two(moment.getSeconds())}` : time;
}

/** Where nothing is pointed at, the legend tells what was there last. */
function tellLast(plot: uPlot): void {
  if (plot.cursor.idx === null || plot.cursor.idx === undefined) plot.setLegend({ idx: plot.data[0].length - 1 }, false);
}

function drawMarks(plot: uPlot, marks: number[]): void {
  plot.ctx.save();
  plot.ctx.strokeStyle = colour("muted");
  plot.ctx.setLineDash([2, 3]);
  for (const mark of marks) {
    const x = Math.round(plot.valToPos(mark, "x", true)) + 0.5;
    if (x < plot.bbox.left || x > plot.bbox.left + plot.bbox.width) continue;
    plot.ctx.beginPath();
    plot.ctx.moveTo(x, plot.bbox.top);
    plot.ctx.lineTo(x, plot.bbox.top + plot.bbox.height);
    plot.ctx.stroke();
  }
  plot.ctx.restore();
}

const dataOf = ({ times, lines }: Props): uPlot.AlignedData => [times, ...lines.map((line) => line.values)];

export function Chart(props: Props): JSX.Element {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const latest = useRef(props);
  latest.current = props;
  const shape = props.lines.map((line) => line.label).join() + theme.value;
  useEffect(() => {
    let gone = false;
    const resized = new ResizeObserver(([entry]) => {
      const width = Math.floor(entry!.contentRect.width);
      if (plot.current && width && plot.current.width !== width) plot.current.setSize({ width, height: latest.current.height ?? 180 });
    });
    void load().then((Plot) => {
      if (gone || !box.current) return;
      plot.current = new Plot(options(Plot, () => latest.current, box.current.clientWidth || 300), dataOf(latest.current), box.current);
      resized.observe(box.current);
    });
    return () => {
      gone = true;
      resized.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [shape]);
  useEffect(() => plot.current?.setData(dataOf(props)), [props.times, props.lines]);
  return <div class="chart" ref={box} role="img" aria-label={props.label} />;
}

/** A stat's last minutes as one line; a gap where nothing was known. */
export function Sparkline({ points, label }: { points: readonly (number | null)[]; label: string }): JSX.Element {
  const [width, height] = [120, 28];
  const known = points.filter((point): point is number => point !== null);
  const top = Math.max(...known, 0) || 1;
  const at = (point: number, index: number): string => `${((index / Math.max(1, points.length - 1)) * width).toFixed(1)} ${(height - 2 - (point / top) * (height - 4)).toFixed(1)}`;
  let path = "";
  points.forEach((point, index) => {
    if (point !== null) path += index === 0 || points[index - 1] === null ? `M${at(point, index)}h0` : `L${at(point, index)}`;
  });
  const alone = lone(points).map((index) => `M${at(points[index]!, index)}h0`);
  return (
    <svg class="sparkline" viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" role="img" aria-label={label}>
      <path d={path} vector-effect="non-scaling-stroke" />
      {alone.length > 0 && <path class="lone" d={alone.join("")} vector-effect="non-scaling-stroke" />}
    </svg>
  );
}

/** How much of a whole, as a bar; an unknown whole is an empty one. */
export function Bullet({ used, total, label }: { used: number | null; total: number | null; label: string }): JSX.Element {
  const share = used !== null && total ? Math.min(1, used / total) : 0;
  return (
    <div class="bullet" role="meter" aria-label={label} aria-valuemin={0} aria-valuemax={100} aria-valuenow={Math.round(share * 100)}>
      <div style={{ width: `${(share * 100).toFixed(1)}%` }} />
    </div>
  );
}
