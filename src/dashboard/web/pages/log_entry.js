// How one entry of the log is shown: its content in a line, and all of it in a panel.

import { h } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { fromBase64 } from "./body_model.js";
import { MASKED_WORDS, bodyView, copyButton, cuttable, headersView, inline } from "./content.js";

/** @import { Cluster, Entry, Operation } from "../lib/types.js" */
/** @typedef {import("../lib/dom.js").Child} Child */

/** Operations of an entry that the panel shows at once. */
const OPERATIONS_MAX = 50;
/** Characters of a body in a line. */
const PREVIEW_MAX = 120;
/** Bytes of a body in a line, where it is not text. */
const PREVIEW_BYTES = 12;

/** @type {Record<Entry["kind"], string>} */
export const KIND_WORDS = {
  noop: "no-op",
  command: "command",
  configuration: "members",
  expiry: "expiry",
  unknown: "unknown",
};

/**
 * @typedef {object} Showing
 * @property {boolean} masked
 * @property {string | null} traceUrl
 * @property {(text: string) => void} announce
 */

/**
 * What the settings of the cluster say about showing entries.
 * @param {Cluster | null} cluster
 * @param {(text: string) => void} announce
 * @returns {Showing}
 */
export function showing(cluster, announce) {
  return { masked: cluster?.show_content === false, traceUrl: cluster?.trace_url ?? null, announce };
}

/**
 * The content of an entry in a line.
 * @param {Entry} entry
 * @param {boolean} masked
 * @returns {Child[]}
 */
export function contentLine(entry, masked) {
  switch (entry.kind) {
    case "noop":
      return [h("span", { class: "muted" }, `a leader begins term ${format.number(entry.term)}`)];
    case "configuration":
      return [configurationWords(entry)];
    case "unknown":
      return [h("span", { class: "muted" }, "this node cannot decode it")];
    default:
      return operationsLine(entry, masked);
  }
}

/** @param {Entry} entry */
function configurationWords({ voters, outgoing, learners }) {
  /** @type {[string, string[]][]} */
  const parts = [
    ["voters", voters],
    ["outgoing", outgoing],
    ["learners", learners],
  ];
  const shown = parts.filter(([, names]) => names.length > 0);
  return h(
    "span",
    null,
    shown.map(([word, names], at) => [at > 0 && "; ", h("span", { class: "verb" }, word), " ", namesList(names)]),
  );
}

/** @param {string[]} names */
const namesList = (names) => names.map((name, at) => [at > 0 && ", ", inline(name, 60)]);

/**
 * @param {Entry} entry
 * @param {boolean} masked
 * @returns {Child[]}
 */
function operationsLine({ kind, operations }, masked) {
  const [first, ...others] = operations;
  if (!first) return [h("span", { class: "muted" }, kind === "expiry" ? "something has run out" : "no operation")];
  const more = others.length;
  return [
    operationLine(first, masked),
    more > 0 &&
      h("span", { class: "muted" }, ` and ${format.number(more)} more ${more === 1 ? "operation" : "operations"}`),
  ];
}

/**
 * @param {Operation} operation
 * @param {boolean} masked
 */
function operationLine(operation, masked) {
  const headers = Object.keys(operation.headers ?? {}).length;
  return h(
    "span",
    null,
    h("span", { class: "verb" }, operation.verb.replaceAll("_", " ")),
    operation.queue !== null && [" ", h("b", { class: "queue" }, inline(operation.queue, 60))],
    operation.more && [" ", h("span", { class: "muted" }, inline(operation.more, 80))],
    bodyPreview(operation, masked),
    headers > 0 && h("span", { class: "muted" }, ` +${format.counted(headers, "header")}`),
  );
}

/**
 * @param {Operation} operation
 * @param {boolean} masked
 * @returns {Child}
 */
function bodyPreview({ text, data, bytes }, masked) {
  if (text !== null) return [" ", h("span", { class: "body" }, inline(text, PREVIEW_MAX, bytes))];
  if (data !== null) return [" ", h("span", { class: "body mono" }, hexPreview(data))];
  return bytes !== null && masked ? h("span", { class: "muted" }, ` ${format.bytes(bytes)}, masked`) : null;
}

/** @param {string} data */
function hexPreview(data) {
  const bytes = fromBase64(data.slice(0, 64));
  if (!bytes) return "";
  const hex = [...bytes.subarray(0, PREVIEW_BYTES)].map((byte) => byte.toString(16).padStart(2, "0"));
  return hex.join(" ") + (data.length > 16 ? " …" : "");
}

/**
 * Where a trace can be looked at; null where there is none, or where the setting does not lead to a web page.
 * @param {string | null} traceUrl
 * @param {string | null} trace
 */
export function traceAddress(traceUrl, trace) {
  if (!traceUrl || !trace) return null;
  try {
    const address = new URL(traceUrl.replace("{trace_id}", trace));
    return /^https?:$/.test(address.protocol) ? address.href : null;
  } catch {
    return null;
  }
}

/**
 * @param {string | null} traceUrl
 * @param {string} trace
 * @param {string} words
 * @returns {Child}
 */
export function traceLink(traceUrl, trace, words) {
  const address = traceAddress(traceUrl, trace);
  if (address === null) return h("span", { class: "mono", title: trace }, words);
  return h(
    "a",
    {
      class: "mono",
      href: address,
      target: "_blank",
      rel: "noopener noreferrer",
      title: trace,
      tabindex: "-1",
    },
    words,
  );
}

/**
 * The digits of a session's id that tell it from others.
 * @param {string} id
 */
export const shortSession = (id) => id.replace(/^0+(?=.)/, "").slice(-8);

/**
 * How far an entry has come on a node.
 * @param {number} index
 * @param {{commit: number | null, applied: number | null}} reach
 */
export function progressWords(index, { commit, applied }) {
  if (applied !== null && index <= applied) return "committed, applied";
  return commit !== null && index <= commit ? "committed, not applied yet" : "not committed yet";
}

/**
 * All of an entry.
 * @param {Entry} entry
 * @param {string} progress
 * @param {Showing} how
 * @returns {Child[]}
 */
export function entryDetail(entry, progress, how) {
  const { announce } = how;
  /** @type {[string, Child][]} */
  const facts = [
    ["Term", format.number(entry.term)],
    ["Kind", KIND_WORDS[entry.kind]],
    ["State", h("span", { class: "progress" }, progress)],
    ["Size", `${format.number(entry.size)} ${entry.size === 1 ? "byte" : "bytes"}`],
    ["Digest", [h("span", { class: "mono" }, entry.digest), " ", copyButton("digest", entry.digest, announce)]],
    [
      "Time",
      entry.time === null
        ? "–"
        : h(
            "time",
            { datetime: new Date(entry.time).toISOString() },
            `${format.dateTime(entry.time)?.slice(0, 11)}${format.clock(entry.time)}`,
          ),
    ],
    [
      "Session",
      entry.session === null
        ? "–"
        : [h("span", { class: "mono" }, entry.session), " ", copyButton("session", entry.session, announce)],
    ],
    ["Sequence", entry.sequence === null ? "–" : format.number(entry.sequence)],
    ["Trace", entry.trace === null ? "–" : traceFact(entry.trace, how)],
  ];
  return [
    h(
      "dl",
      { class: "facts log-facts" },
      facts.map(([name, value]) => [h("dt", null, name), h("dd", null, value)]),
    ),
    entry.kind === "configuration" && configurationDetail(entry),
    how.masked &&
      entry.operations.length > 0 &&
      h(
        "p",
        { class: "note content-masked-note" },
        `${MASKED_WORDS} The digest still tells whether two entries are equal.`,
      ),
    operationsDetail(entry.operations, how),
  ];
}

/**
 * @param {string} trace
 * @param {Showing} how
 * @returns {Child}
 */
function traceFact(trace, { traceUrl, announce }) {
  const address = traceAddress(traceUrl, trace);
  const id =
    address === null
      ? h("span", { class: "mono" }, trace)
      : h("a", { class: "mono", href: address, target: "_blank", rel: "noopener noreferrer" }, trace);
  return [id, " ", copyButton("trace id", trace, announce)];
}

/** @param {Entry} entry */
function configurationDetail({ voters, outgoing, learners }) {
  /** @type {[string, string[]][]} */
  const parts = [
    ["Voters", voters],
    ["Outgoing voters", outgoing],
    ["Learners", learners],
  ];
  return h(
    "dl",
    { class: "facts log-facts" },
    parts.map(([word, names]) => [h("dt", null, word), h("dd", null, names.length === 0 ? "none" : namesList(names))]),
  );
}

/**
 * @param {Operation[]} operations
 * @param {Showing} how
 */
function operationsDetail(operations, how) {
  if (operations.length === 0) return null;
  const list = h("ol", { class: "operations" });
  const more = h("button", { type: "button" });
  let shown = 0;
  const showMore = () => {
    const next = operations.slice(shown, shown + OPERATIONS_MAX);
    list.append(...next.map((operation, at) => operationDetail(operation, shown + at, operations.length, how)));
    shown += next.length;
    more.hidden = shown >= operations.length;
    more.textContent = `Show more: ${format.number(operations.length - shown)} are left`;
  };
  more.addEventListener("click", showMore);
  showMore();
  return h(
    "section",
    { "aria-label": "Operations" },
    h("h3", null, format.counted(operations.length, "operation")),
    list,
    more,
  );
}

/**
 * @param {Operation} operation
 * @param {number} at
 * @param {number} of
 * @param {Showing} how
 */
function operationDetail(operation, at, of, { masked }) {
  const place = of > 1 ? `${format.number(at + 1)}. ` : "";
  const hasBody = operation.text !== null || operation.data !== null || operation.bytes !== null;
  return h(
    "li",
    null,
    h(
      "p",
      { class: "operation-head" },
      h("span", { class: "muted" }, place),
      h("span", { class: "verb" }, operation.verb.replaceAll("_", " ")),
      " ",
      operation.queue !== null && queueLink(operation.queue),
    ),
    operation.more && h("p", { class: "muted" }, cuttable(operation.more, 300)),
    headersView(operation.headers),
    hasBody && bodyView(operation, masked),
  );
}

/** @param {string} queue */
const queueLink = (queue) => h("a", { href: `#/queue?name=${encodeURIComponent(queue)}` }, inline(queue, 80));
