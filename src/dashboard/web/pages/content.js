// Shows what others have written: names, bodies and headers. Always as text nodes, isolated from the direction of the
// text around it, with hidden characters visible, and cut where it is long, with a way to see all.

import { h, replace } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { HEX_ROWS, bodyOf, cut, hexRows, isJson, prettyJson, runs } from "./body_model.js";

/** Characters of a value in a line. */
const INLINE_MAX = 160;
/** Characters of a body that are shown at once. */
const BLOCK_MAX = 20_000;
/** Characters of JSON that is laid out when all of it is to be shown. */
const LAID_OUT_MAX = 1_000_000;

/** Why bodies and headers are not shown, where they are masked. */
export const MASKED_WORDS =
  "Bodies and headers are masked: the setting admin.show_content of the node that is asked is false.";

/** What decides how an element of `inline` looks. @type {WeakMap<Element, string>} */
const shown = new WeakMap();

/**
 * A value in a line of text.
 * @param {string} value
 * @param {number} [max]
 * @param {number | null} [bytes] Of a body, of which the node may have sent the beginning only.
 */
export function inline(value, max = INLINE_MAX, bytes = null) {
  const element = h("bdi", { class: "foreign" });
  setInline(element, value, max, bytes);
  return element;
}

/**
 * Shows another value in an element of `inline`.
 * @param {Element} element
 * @param {string} value
 * @param {number} [max]
 * @param {number | null} [bytes]
 */
export function setInline(element, value, max = INLINE_MAX, bytes = null) {
  const all = `${max} ${bytes} ${value}`;
  if (shown.get(element) === all) return;
  shown.set(element, all);
  const part = cut(value, max);
  const rest = bytes === null ? value.length - part.length : bytes - new TextEncoder().encode(part).length;
  const size = bytes === null ? format.number(rest) : format.bytes(rest);
  replace(element, ...runNodes(part, ""), rest > 0 && h("span", { class: "foreign-more" }, `… ${size} more`));
  if (value === "") replace(element, h("span", { class: "foreign-empty" }, "empty"));
}

/**
 * @param {string} text
 * @param {string} plain
 */
function runNodes(text, plain) {
  return runs(text, plain).map((run) =>
    run.hidden === null ? run.text : h("span", { class: "foreign-hidden", title: run.hidden }, run.text),
  );
}

/**
 * A value where only plain text can stand, such as an option of a list: hidden characters as signs, isolated by marks
 * of direction.
 * @param {string} value
 * @param {number} [max]
 */
export function plain(value, max = INLINE_MAX) {
  const text = runs(cut(value, max))
    .map((run) => run.text)
    .join("");
  return `\u2068${text}${value.length > max ? "…" : ""}\u2069`;
}

/**
 * A value that may be long, cut, with a button that shows all of it.
 * @param {string} value
 * @param {number} [max]
 */
export function cuttable(value, max = INLINE_MAX) {
  if (value.length <= max) return inline(value, max);
  const whole = h("bdi", { class: "foreign" });
  const button = h("button", {
    type: "button",
    class: "foreign-all",
    "aria-expanded": "false",
    onclick: () => toggle(),
  });
  let open = false;
  const draw = () => {
    replace(whole, ...runNodes(open ? value : `${cut(value, max)}`, ""), !open && "…");
    replace(button, open ? "less" : `all ${format.number(value.length)} characters`);
    button.setAttribute("aria-expanded", String(open));
  };
  const toggle = () => {
    open = !open;
    draw();
  };
  draw();
  return h("span", null, whole, " ", button);
}

/**
 * A button that puts text on the clipboard.
 * @param {string} label
 * @param {string} value
 * @param {(text: string) => void} announce
 */
export function copyButton(label, value, announce) {
  const copy = () =>
    navigator.clipboard?.writeText(value).then(
      () => announce(`${label} copied`),
      () => announce(`${label} could not be copied`),
    );
  if (!navigator.clipboard) return null;
  return h(
    "button",
    { type: "button", class: "foreign-copy", "aria-label": `Copy ${label}`, title: `Copy ${label}`, onclick: copy },
    "copy",
  );
}

/** @typedef {"text" | "JSON" | "hex"} Way  how a body is shown */

/** @type {Way | null} what the reader chose last, for all bodies of the page */
let chosen = null;

/**
 * A body, as text, JSON or hexadecimal.
 * @param {{text: string | null, data: string | null, bytes: number | null}} carrier
 * @param {boolean} masked
 */
export function bodyView(carrier, masked) {
  const body = bodyOf(carrier);
  if (body === null) {
    const size = carrier.bytes === null ? "" : `${format.counted(carrier.bytes, "byte")}, `;
    return h(
      "p",
      { class: "content-masked" },
      masked ? `${size}masked, as are headers` : `${size}content not available`,
    );
  }
  const content = body.text;
  /** @type {Way[]} */
  const ways = content === null ? ["hex"] : isJson(content) ? ["text", "JSON", "hex"] : ["text", "hex"];
  const size = h("span", { class: "content-size" }, sizeWords(body.bytes.length, carrier.bytes));
  const frame = h("pre", { class: "content-block", tabindex: "0" });
  const more = h("button", { type: "button", class: "foreign-all" });
  const buttons = ways.map((way) =>
    h(
      "button",
      { type: "button", class: "content-way", onclick: () => choose(way) },
      way === "text" ? "Text" : way === "hex" ? "Hex" : way,
    ),
  );
  let whole = false;
  /** @type {Way} */
  let current =
    chosen !== null && ways.includes(chosen) ? chosen : (ways.find((way) => way === "JSON") ?? ways[0] ?? "hex");

  /** The body as it is shown, before it is cut. */
  const written = () => {
    if (content === null || current === "hex") return hexRows(body.bytes, whole ? Infinity : HEX_ROWS);
    return current === "JSON" ? prettyJson(content, whole ? LAID_OUT_MAX : BLOCK_MAX) : content;
  };

  /** @param {Way} way */
  const choose = (way) => {
    [chosen, current, whole] = [way, way, false];
    draw();
  };
  const draw = () => {
    buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(ways[at] === current)));
    const full = written();
    const part = whole ? full : cut(full, BLOCK_MAX);
    const isCut = part.length < full.length || (current === "hex" && !whole && body.bytes.length > HEX_ROWS * 16);
    replace(frame, ...(part === "" ? [h("span", { class: "foreign-empty" }, "empty")] : runNodes(part, "\n\t")));
    frame.setAttribute("aria-label", `Body as ${current}`);
    frame.classList.toggle("content-hex", current === "hex");
    replace(more, "Show all of it");
    more.hidden = !isCut;
  };
  more.addEventListener("click", () => {
    whole = true;
    draw();
    frame.focus();
  });
  draw();
  return h(
    "div",
    { class: "content" },
    h(
      "div",
      { class: "content-bar" },
      h("div", { class: "content-ways", role: "group", "aria-label": "Show the body as" }, buttons),
      size,
    ),
    frame,
    more,
  );
}

/**
 * Of a large body the node sends the beginning only.
 * @param {number} sent
 * @param {number | null} whole
 */
function sizeWords(sent, whole) {
  if (whole === null || whole <= sent) return format.counted(sent, "byte");
  return `the first ${format.number(sent)} of ${format.counted(whole, "byte")}`;
}

/**
 * Headers as a table; null where there are none.
 * @param {Object<string, string> | null} headers
 */
export function headersView(headers) {
  const rows = Object.entries(headers ?? {});
  if (rows.length === 0) return null;
  return h(
    "table",
    { class: "content-headers" },
    h("caption", { class: "sr" }, "Headers"),
    h(
      "tbody",
      null,
      rows.map(([name, value]) =>
        h("tr", null, h("th", { scope: "row" }, cuttable(name, 80)), h("td", null, cuttable(value, 300))),
      ),
    ),
  );
}
