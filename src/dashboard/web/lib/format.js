// Numbers and times as text. Each takes null for what is not known and answers null, which `show` of dom.js turns
// into a dash.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const significant = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const hundredths = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const clockTime = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hour12: false,
});
const shortTime = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", hour12: false });
const date = new Intl.DateTimeFormat("en-CA", { year: "numeric", month: "2-digit", day: "2-digit" });

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** @import { Cluster } from "./types.js" */
/** @typedef {number | null | undefined} Maybe */

/**
 * A count: `12,345`.
 * @param {Maybe} value
 */
export const number = (value) => known(value, (count) => whole.format(count));

/**
 * A rate in a second: `0.4/s`, `1,204/s`.
 * @param {Maybe} value
 */
export const rate = (value) => known(value, (count) => `${threeDigits(count)}/s`);

/**
 * `512 B`, `1.5 KiB`, `212 MiB`.
 * @param {Maybe} value
 */
export const bytes = (value) =>
  known(value, (count) => {
    const power = count < 1 ? 0 : Math.min(Math.floor(Math.log2(count) / 10), UNITS.length - 1);
    return power === 0 ? `${whole.format(count)} B` : `${threeDigits(count / 1024 ** power)} ${UNITS[power]}`;
  });

/**
 * How long something takes: `0.004 ms`, `0.42 ms`, `18.3 ms`, `1.20 s`.
 * @param {Maybe} value
 */
export const milliseconds = (value) =>
  known(value, (ms) => (ms < 1000 ? `${threeDigits(ms)} ms` : `${hundredths.format(ms / 1000)} s`));

/**
 * How long something lasts, in its two largest units: `12 s`, `3 min 4 s`, `2 d 5 h`.
 * @param {Maybe} value In milliseconds.
 */
export const duration = (value) =>
  known(value, (ms) => {
    const seconds = Math.max(0, Math.floor(ms / 1000));
    if (seconds < 60) return `${seconds} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
    return `${whole.format(Math.floor(seconds / 86400))} d ${Math.floor((seconds % 86400) / 3600)} h`;
  });

/**
 * How long something is set to last, to the millisecond: `1 h 1 s`, `90.5 s` as `1 min 30.5 s`.
 * @param {Maybe} value In milliseconds.
 */
export const exactDuration = (value) =>
  known(value, (ms) => {
    /** @type {[number, string][]} */
    const parts = [
      [Math.floor(ms / 3_600_000), "h"],
      [Math.floor(ms / 60_000) % 60, "min"],
      [(ms % 60_000) / 1000, "s"],
    ];
    const some = parts.filter(([count]) => count > 0).map(([count, unit]) => `${count} ${unit}`);
    return some.join(" ") || "0 s";
  });

/**
 * `12 s ago`.
 * @param {Maybe} at
 * @param {number} now
 */
export const ago = (at, now) => known(at, (then) => `${duration(now - then)} ago`);

/**
 * Time of day with milliseconds, where the reader is: `14:03:12.084`.
 * @param {Maybe} at
 */
export const clock = (at) =>
  known(at, (ms) => `${clockTime.format(ms)}.${String(Math.floor(ms) % 1000).padStart(3, "0")}`);

/**
 * `14:03`.
 * @param {Maybe} at
 */
export const minute = (at) => known(at, (ms) => shortTime.format(ms));

/**
 * `2026-03-01 14:03:12`.
 * @param {Maybe} at
 */
export const dateTime = (at) => known(at, (ms) => `${date.format(ms)} ${clockTime.format(ms)}`);

/**
 * `1 entry`, `2 entries`.
 * @param {number} count
 * @param {string} one
 * @param {string} [many]
 */
export const counted = (count, one, many = `${one}s`) => `${whole.format(count)} ${count === 1 ? one : many}`;

/**
 * The beginning of an id, which is enough to tell ids apart by eye.
 * @param {string} id
 */
export const shortId = (id) => id.slice(0, 8);

/**
 * The name of a node, or the beginning of its id when it is no member any more. Null: there is no id.
 * @param {string | null} id
 * @param {Cluster} cluster
 */
export function nameOf(id, { nodes }) {
  return id ? (nodes.find((node) => node.id === id)?.name ?? shortId(id)) : null;
}

/**
 * A name where there is little room: what of it comes before a dot, if that fits, otherwise its beginning.
 * @param {string} name
 * @param {number} letters At most.
 */
export function shortName(name, letters) {
  if (name.length <= letters) return name;
  const label = name.split(".", 1)[0] ?? name;
  return `${label.length < letters ? label : name.slice(0, letters - 1)}…`;
}

/**
 * @param {Maybe} value
 * @param {(value: number) => string} format
 * @returns {string | null}
 */
function known(value, format) {
  return value === null || value === undefined || Number.isNaN(value) ? null : format(value);
}

/** @param {number} value */
function threeDigits(value) {
  if (value >= 100) return whole.format(value);
  if (value >= 10) return tenths.format(value);
  // What was measured is not nothing, however small it is.
  return value < 0.1 ? significant.format(value) : hundredths.format(value);
}
