/** How figures and moments are written: always a unit, three significant figures, and "—" for what is not known. */

export const NONE = "—";

type Maybe = number | null | undefined;

const known = (value: Maybe): value is number => value !== null && value !== undefined && Number.isFinite(value);

/** Three significant figures without an exponent: 0.0123, 1.24, 12.4, 124, 1,240. */
export function figures(value: Maybe): string {
  if (!known(value)) return NONE;
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString("en");
  const digits = Math.max(0, 2 - Math.floor(Math.log10(size)));
  const rounded = Number(value.toFixed(Math.min(digits, 6)));
  return Math.abs(rounded) >= 1000 ? rounded.toLocaleString("en") : String(rounded);
}

/** A number of things, exact; a capped one says so ("10k+"). */
export function count(value: Maybe, capped = false): string {
  if (!known(value)) return NONE;
  if (capped) return value >= 1000 ? `${Math.floor(value / 1000)}k+` : `${value}+`;
  return Math.round(value).toLocaleString("en");
}

const pair = (big: number, bigUnit: string, small: number, smallUnit: string): string =>
  small ? `${big} ${bigUnit} ${small} ${smallUnit}` : `${big} ${bigUnit}`;

/** Seconds as people say them: 824 ms, 1.24 s, 3 min 12 s, 2 h 5 min, 3 d 4 h. */
export function duration(seconds: Maybe): string {
  if (!known(seconds)) return NONE;
  const s = Math.max(0, seconds);
  if (s === 0) return "0 s";
  if (s < 0.9995) return `${figures(s * 1000)} ms`;
  if (s < 59.95) return `${figures(s)} s`;
  const whole = Math.round(s);
  if (whole < 3600) return pair(Math.floor(whole / 60), "min", whole % 60, "s");
  const minutes = Math.round(s / 60);
  if (minutes < 1440) return pair(Math.floor(minutes / 60), "h", minutes % 60, "min");
  const hours = Math.round(s / 3600);
  return pair(Math.floor(hours / 24), "d", hours % 24, "h");
}

const BYTES = ["B", "KiB", "MiB", "GiB", "TiB"];

/** Bytes: 812 B, 18.2 MiB. */
export function bytes(value: Maybe): string {
  if (!known(value)) return NONE;
  const step = value > 0 ? Math.min(BYTES.length - 1, Math.floor(Math.log2(value) / 10)) : 0;
  return `${figures(value / 1024 ** step)} ${BYTES[step]}`;
}

/** Used of total in one unit, 18.2/24 GiB; a little of much in its own, 21.4 MiB/24 GiB. */
export function bytesOf(used: Maybe, total: Maybe): string {
  if (!known(used) || !known(total) || total <= 0) return known(used) ? bytes(used) : NONE;
  if (used < total / 100) return `${bytes(used)}/${bytes(total)}`;
  const step = Math.min(BYTES.length - 1, Math.floor(Math.log2(total) / 10));
  return `${figures(used / 1024 ** step)}/${figures(total / 1024 ** step)} ${BYTES[step]}`;
}

/** A rate per second, said per minute or hour where it is slow: 12.4 jobs/s, 4.2 jobs/min; none in the unit of what stands beside it. */
export function rate(perSecond: Maybe, what = "jobs", beside: Maybe = null): string {
  if (!known(perSecond)) return NONE;
  if (perSecond === 0) return `0 ${known(beside) && beside > 0 ? rate(beside, what).split(" ")[1] : `${what}/s`}`;
  if (perSecond >= 1) return `${figures(perSecond)} ${what}/s`;
  return perSecond * 60 >= 1 ? `${figures(perSecond * 60)} ${what}/min` : `${figures(perSecond * 3600)} ${what}/h`;
}

export function percent(share: Maybe): string {
  return known(share) ? `${figures(share * 100)} %` : NONE;
}

/** An amount in the deployment's currency: $0.00412, €12.4, CHF 3.1. */
export function money(amount: Maybe, currency: string): string {
  if (!known(amount)) return NONE;
  const parts = new Intl.NumberFormat("en", { style: "currency", currency, currencyDisplay: "narrowSymbol" }).formatToParts(0);
  const symbol = parts.find(({ type }) => type === "currency")?.value ?? currency;
  return `${symbol}${/\w$/.test(symbol) ? " " : ""}${figures(amount)}`;
}

/** Seconds since a moment, on the server's clock. */
export function since(at: string | null | undefined, now: number): number | null {
  if (!at) return null;
  const then = Date.parse(at);
  return Number.isNaN(then) ? null : (now - then) / 1000;
}

/** Relative time in coarse steps, for lists: just now, 12 s ago, 3 min ago, in 5 min. */
export function ago(at: string | null | undefined, now: number): string {
  const s = since(at, now);
  if (s === null) return NONE;
  const text = coarse(Math.abs(s));
  if (Math.abs(s) < 1) return "just now";
  return s < 0 ? `in ${text}` : `${text} ago`;
}

/** One unit only: what changes every second in a list is noise. */
export function coarse(seconds: number): string {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

const ABSOLUTE = new Intl.DateTimeFormat("en-CA", {
  year: "numeric",
  month: "2-digit",
  day: "2-digit",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  fractionalSecondDigits: 3,
  hourCycle: "h23",
  timeZoneName: "shortOffset",
});

/** A moment with its zone: 2026-11-22 09:30:00.123 GMT+1. */
export function absolute(at: string | null | undefined): string {
  if (!at) return NONE;
  const moment = new Date(at);
  if (Number.isNaN(moment.getTime())) return NONE;
  const part = Object.fromEntries(ABSOLUTE.formatToParts(moment).map(({ type, value }) => [type, value]));
  const second = `${part.second}.${part.fractionalSecond}`;
  return `${part.year}-${part.month}-${part.day} ${part.hour}:${part.minute}:${second} ${part.timeZoneName}`;
}

/** Enough of an id to tell it from its neighbours: UUIDv7 begin alike, so it is the end that differs. */
export function shortId(id: string): string {
  return id.length > 13 ? `…${id.slice(-12)}` : id;
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}
