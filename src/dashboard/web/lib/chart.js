// Charts over time, drawn by uPlot, which is loaded when the first chart is shown; and sparklines, drawn here.
//
//     const chart = makeChart({ title: "Commits", unit: rate, series: [{ label: "commits", colour: "--accent" }] });
//     root.append(chart.node);
//     chart.update({ step_ms: 5000, end: now, values: [[1, 2, null, 4]] }); // a list for each series, the newest last
//     chart.destroy();
//
// A screen reader hears the title, the last value and the range. Colours are names of tokens, read anew when the
// theme changes.

import { attribute, h, loadStyle, show, svg, text } from "./dom.js";
import { bytes, minute, number } from "./format.js";

/**
 * @typedef {object} Series
 * @property {string} label
 * @property {string} colour Name of a token, such as `--accent`.
 */

/**
 * @typedef {object} ChartOptions
 * @property {string} title
 * @property {(value: number | null) => string | null} unit How a value is written.
 * @property {Series[]} series
 * @property {number} [height] Of the plot, in pixels.
 */

/** @typedef {{step_ms: number, end: number, values: (number | null)[][]}} ChartData */

/**
 * @typedef {object} Chart
 * @property {HTMLElement} node
 * @property {(data: ChartData) => void} update
 * @property {() => void} destroy
 */

const HEIGHT = 110;

/** Room for the values on the axis at the left. */
const AXIS_PX = 62;

/** A history that is shorter is shown at the right of so much time, so that its marks are minutes apart. */
const SHOWN_MIN_S = 300;

/** Steps of an axis of counts, none of which is a fraction. */
const COUNT_STEPS = Array.from({ length: 42 }, (_, place) => ([1, 2, 5][place % 3] ?? 1) * 10 ** Math.floor(place / 3));

/** Steps of an axis of bytes; uPlot chooses decimal ones by itself. */
const BYTE_STEPS = Array.from({ length: 50 }, (_, power) => 2 ** power);

/** @type {Promise<any> | null} */
let library = null;

/** @returns {Promise<any>} null: it did not come, and is asked for anew the next time */
function loadLibrary() {
  library ??= Promise.all([import("../vendor/uplot/uPlot.esm.js"), loadStyle("vendor/uplot/uPlot.min.css")]).then(
    ([module]) => module.default,
    () => (library = null),
  );
  return library;
}

/**
 * @param {ChartOptions} options
 * @returns {Chart}
 */
export function makeChart({ title, unit, series, height = HEIGHT }) {
  const readings = series.map(({ label, colour }) => {
    const value = h("strong");
    const key = [h("span", { class: "chart-key", style: { background: `var(${colour})` } }), `${label} `];
    return { value, node: h("span", null, series.length > 1 && key, value) };
  });
  const moment = h("span");
  const values = h(
    "span",
    { class: "chart-values" },
    readings.map(({ node }) => node),
    moment,
  );
  const range = h("span", { class: "sr" });
  const plot = h("div", { class: "plot nothing", "aria-hidden": "true", style: { height: `${height}px` } });
  const node = h("figure", { class: "chart" }, h("figcaption", null, h("span", null, title), values, range), plot);
  /** @type {any} */
  let drawn = null;
  /** @type {ChartData | null} */
  let data = null;
  let gone = false;

  async function draw() {
    const UPlot = await loadLibrary();
    if (!UPlot || gone || !data) return;
    drawn?.destroy();
    const theme = readTokens(node, ["--muted", "--line", ...series.map(({ colour }) => colour)]);
    drawn = new UPlot(plotOptions(theme), columns(data), plot);
  }

  /** @param {string[]} theme */
  function plotOptions([ink, grid, ...colours]) {
    const axis = {
      stroke: ink,
      font: "11px system-ui, sans-serif",
      grid: { stroke: grid, width: 1 },
      ticks: { show: false },
    };
    /** @param {unknown} _ @param {(number | null)[]} splits */
    const times = (_, splits) => splits.map((at) => minute(at === null ? null : at * 1000));
    /** @param {unknown} _ @param {number[]} splits */
    const values = (_, splits) => splits.map((value) => unit(value)?.replace(/\.0+(?=\D|$)/, ""));
    const steps = unit === bytes ? BYTE_STEPS : unit === number ? COUNT_STEPS : null;
    return {
      width: Math.max(plot.clientWidth, 80),
      height,
      // The last mark of the time stands half beyond the end.
      padding: [6, 20, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 5 } },
      hooks: { setCursor: [(/** @type {any} */ drawing) => tell(drawing.cursor.idx ?? null)] },
      scales: {
        x: {
          // Where there is one value only, uPlot would have it that the chart ends a day later.
          range: (/** @type {unknown} */ _, /** @type {number | null} */ from) => {
            const end = (data?.end ?? Date.now()) / 1000;
            return [Math.min(from ?? end, end - SHOWN_MIN_S), end];
          },
        },
        y: {
          range: (/** @type {unknown} */ _, /** @type {number | null} */ __, /** @type {number | null} */ top) => [
            0,
            top ? top * 1.1 : 1,
          ],
        },
      },
      axes: [
        { ...axis, size: 22, space: 60, values: times },
        { ...axis, size: AXIS_PX, space: 34, values, ...(steps && { incrs: steps }) },
      ],
      series: [
        {},
        ...series.map(({ label }, place) => ({
          label,
          stroke: colours[place],
          width: 1.5,
          points: { show: false },
          spanGaps: false,
        })),
      ],
    };
  }

  /**
   * Writes the values of one moment above the plot: of the one under the cursor, otherwise of the last.
   * @param {number | null} place
   */
  function tell(place) {
    if (!data) return;
    const shown = data;
    const at = place === null ? null : shown.end - (longest(shown) - 1 - place) * shown.step_ms;
    readings.forEach(({ value }, index) => {
      const known = shown.values[index]?.[place ?? longest(shown) - 1] ?? null;
      show(value, unit(known), "nothing was measured at this time");
    });
    text(moment, at === null ? "" : `at ${minute(at)}`);
  }

  const resized = new ResizeObserver(() => drawn?.setSize({ width: Math.max(plot.clientWidth, 80), height }));
  resized.observe(plot);
  const unwatch = onThemeChange(draw);

  return {
    node,
    update(changed) {
      data = changed;
      const all = changed.values.flat().filter((value) => value !== null);
      attribute(plot, "class", all.length === 0 ? "plot nothing" : "plot");
      text(
        range,
        all.length === 0 ? "Nothing is known yet." : `Between ${unit(Math.min(...all))} and ${unit(Math.max(...all))}.`,
      );
      tell(drawn?.cursor.idx ?? null);
      if (drawn) drawn.setData(columns(changed));
      else draw();
    },
    destroy() {
      gone = true;
      unwatch();
      resized.disconnect();
      drawn?.destroy();
    },
  };
}

/**
 * A line without axes, for a cell of a table. Its text for a screen reader is the caller's to give.
 * @param {readonly (number | null)[]} values The newest last.
 * @param {{width?: number, height?: number, colour?: string}} [options]
 */
export function sparkline(values, { width = 120, height = 20, colour = "--accent" } = {}) {
  const top = Math.max(1, ...values.map((value) => value ?? 0));
  const step = width / Math.max(values.length - 1, 1);
  let d = "";
  values.forEach((value, place) => {
    if (value === null) return;
    const starts = place === 0 || values[place - 1] === null;
    d += `${starts ? "M" : "L"}${(place * step).toFixed(1)} ${(height - 1 - (value / top) * (height - 2)).toFixed(1)}`;
  });
  return svg(
    "svg",
    {
      class: "sparkline",
      viewBox: `0 0 ${width} ${height}`,
      width,
      height,
      "aria-hidden": "true",
      style: { color: `var(${colour})` },
    },
    svg("path", { d }),
  );
}

/** @param {ChartData} data */
function longest({ values }) {
  return Math.max(0, ...values.map((list) => list.length));
}

/** @param {ChartData} data */
function columns(data) {
  const count = longest(data);
  const times = Array.from({ length: count }, (_, place) => (data.end - (count - 1 - place) * data.step_ms) / 1000);
  return [times, ...data.values];
}

/**
 * Colours as a canvas takes them.
 * @param {Element} host
 * @param {string[]} names
 */
function readTokens(host, names) {
  const probe = h("span", { hidden: true });
  host.append(probe);
  const colours = names.map((name) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  });
  probe.remove();
  return colours;
}

/** @param {() => void} handler */
function onThemeChange(handler) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const manual = new MutationObserver(handler);
  system.addEventListener("change", handler);
  manual.observe(document.documentElement, { attributeFilter: ["data-theme"] });
  return () => {
    system.removeEventListener("change", handler);
    manual.disconnect();
  };
}
