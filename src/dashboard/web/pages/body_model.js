// What others have written, made safe to look at: bodies as text, JSON or hexadecimal, and characters that hide made
// visible. Pure: no document.

/** Rows of 16 bytes that a hexadecimal view shows at once. */
export const HEX_ROWS = 256;

/** Hidden characters of a text that get a sign of their own. */
const SIGNS_MAX = 500;

/**
 * Characters that show nothing, or change how others are shown: controls, marks of direction, invisible ones, tags,
 * halves of pairs. Joiners (U+200C, U+200D) are parts of words and signs in use, and stay.
 */
const HIDDEN =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\u3164\ufeff\uffa0\ufff0-\ufffb]|[\u{e0000}-\u{e0fff}]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/gu;

const SHORT = new Map([
  [0, "\\0"],
  [9, "\\t"],
  [10, "\\n"],
  [13, "\\r"],
]);

/** @typedef {{text: string, hidden: string | null}} Run  `hidden` names the character that `text` stands for */

/**
 * Splits text so that each hidden character can be shown as a sign of its own; after many of them, signs are among the
 * letters, as a text of hidden characters would be more elements than a browser can bear.
 * @param {string} text
 * @param {string} [plain] hidden characters that are shown as they are, such as the line breaks of a block of text
 * @param {number} [signs] at most so many of their own
 * @returns {Run[]}
 */
export function runs(text, plain = "", signs = SIGNS_MAX) {
  /** @type {Run[]} */
  const found = [];
  let at = 0;
  for (const match of text.matchAll(HIDDEN)) {
    if (plain.includes(match[0])) continue;
    if (signs === 0) break;
    signs -= 1;
    if (match.index > at) found.push({ text: text.slice(at, match.index), hidden: null });
    found.push(sign(match[0]));
    at = match.index + match[0].length;
  }
  const visible = (/** @type {string} */ character) => (plain.includes(character) ? character : sign(character).text);
  if (at < text.length) found.push({ text: text.slice(at).replace(HIDDEN, visible), hidden: null });
  return found;
}

/** @param {string} character */
function sign(character) {
  const code = character.codePointAt(0) ?? 0;
  const name = `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
  // As programmers write them: few fonts have signs for these.
  if (code < 0x80) return { text: SHORT.get(code) ?? `\\x${code.toString(16).padStart(2, "0")}`, hidden: name };
  return { text: `<${name}>`, hidden: name };
}

/**
 * Cuts text to about `length` characters, and never between the halves of a pair.
 * @param {string} text
 * @param {number} length
 */
export function cut(text, length) {
  if (text.length <= length) return text;
  const inPair = /[\ud800-\udbff]/.test(text.charAt(length - 1));
  return text.slice(0, inPair ? length - 1 : length);
}

/**
 * The bytes behind base64; null when it is none.
 * @param {string} data
 */
export function fromBase64(data) {
  try {
    return Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
  } catch {
    return null;
  }
}

/**
 * @typedef {object} Body
 * @property {string | null} text  null: it is no text
 * @property {Uint8Array} bytes
 */

/**
 * A body as it came; null when it is masked, or there is none.
 * @param {{text: string | null, data: string | null}} carrier
 * @returns {Body | null}
 */
export function bodyOf({ text, data }) {
  if (text !== null) return { text, bytes: new TextEncoder().encode(text) };
  const bytes = data === null ? null : fromBase64(data);
  return bytes === null ? null : { text: null, bytes };
}

/**
 * One row of a hexadecimal view: `00000010  68 65 6c 6c 6f ...  hello`.
 * @param {Uint8Array} bytes
 * @param {number} row
 */
export function hexRow(bytes, row) {
  const part = bytes.subarray(row * 16, row * 16 + 16);
  const hex = [...part].map((byte) => byte.toString(16).padStart(2, "0"));
  const halves = [hex.slice(0, 8).join(" "), hex.slice(8).join(" ")].map((half) => half.padEnd(23));
  const letters = [...part].map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : "·")).join("");
  return `${(row * 16).toString(16).padStart(8, "0")}  ${halves.join("  ")}  ${letters}`;
}

/**
 * @param {Uint8Array} bytes
 * @param {number} rows at most so many
 */
export function hexRows(bytes, rows = HEX_ROWS) {
  const count = Math.min(rows, Math.ceil(bytes.length / 16));
  return Array.from({ length: count }, (_, row) => hexRow(bytes, row)).join("\n");
}

/** JSON longer than this is not laid out. */
const JSON_MAX = 1024 * 1024;

/** Lines further in than so many levels are indented as at this one. */
const INDENTED_MAX = 32;

const TOKENS = /"(?:[^"\\]|\\.)*"|[[\]{},:]|[^\s[\]{},:"]+/gs;

/**
 * Whether text is a list or an object of JSON.
 * @param {string} text
 */
export function isJson(text) {
  if (text.length > JSON_MAX || !/^\s*[[{]/.test(text)) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/**
 * JSON laid out in lines, up to the token that makes it longer than `max`; what is left follows as it is. So a small text
 * cannot become a large one, however deep it is. Numbers and texts stay letter by letter what they were: parsing and
 * writing them anew would round a large number, and drop a key that is there twice.
 * @param {string} text of which `isJson` holds
 * @param {number} [max]
 */
export function prettyJson(text, max = Infinity) {
  let laidOut = "";
  let depth = 0;
  let before = "";
  for (const { 0: token, index } of text.matchAll(TOKENS)) {
    if (laidOut.length > max) return laidOut + text.slice(index);
    const opened = before === "{" || before === "[";
    const closes = token === "}" || token === "]";
    depth += Number(opened) - Number(closes);
    if (before === "," || opened !== closes) laidOut += `\n${"  ".repeat(Math.min(depth, INDENTED_MAX))}`;
    laidOut += token === ":" ? ": " : token;
    before = token;
  }
  return laidOut;
}
