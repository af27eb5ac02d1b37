// The log of one node as a table: all of it, or what a search has found in it.

import { makeTable } from "../lib/table.js";
import { attribute, h, replace, text } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { KIND_WORDS, contentLine, progressWords, shortSession, traceLink } from "./log_entry.js";
import { plain } from "./content.js";
import { LogReader } from "./log_reader.js";
import { LogSearch, isEmpty as isNoFilter } from "./log_search.js";

/** @import { App, Cluster, Entry } from "../lib/types.js" */
/** @import { Column } from "../lib/table.js" */
/** @import { Filter } from "./log_search.js" */

/** A row: an entry, a hole where the node has none, or a note about what is not in the log.
 * @typedef {{index: number, entry: Entry | null, note: string | null}} Row */

/**
 * @typedef {object} View  what the page shows of logs, below its tools
 * @property {HTMLElement} node
 * @property {(cluster: Cluster | null) => void} update
 * @property {(index: number) => string | null} jump  answers why it cannot, in words
 * @property {(on: boolean) => void} follow
 * @property {() => void} focus
 * @property {() => void} leave  lets the selected entry go
 * @property {() => void} destroy
 */

/**
 * @typedef {object} Selected
 * @property {number} index
 * @property {{name: string, entry: Entry | null | undefined, progress: string}[]} sides  one for each log; undefined:
 *   not read yet
 * @property {string} [words]  how the two compare
 */

/**
 * @typedef {object} Listeners
 * @property {(selected: Selected | null) => void} onSelect  also when something about what is selected has changed
 * @property {(following: boolean) => void} onFollow
 * @property {() => void} onOpen
 */

/**
 * @param {App} app
 * @param {string} nodeId
 * @param {Filter} filter
 * @param {Listeners} listeners
 * @returns {View}
 */
export function makeSingle(app, nodeId, filter, listeners) {
  const reader = new LogReader(nodeId, app.get, changed);
  const search = isNoFilter(filter) ? null : new LogSearch(nodeId, filter, app.get, changed);
  let name = nodeId;
  let gone = false;
  /** How far the node says that its log goes; null: it has told nothing. @type {number | null} */
  let end = null;
  let following = false;
  /** What the table shows, from which the rows are counted. */
  let shown = { first: 1, last: 0 };
  /** @type {number | null} */
  let selected = null;
  let told = "";
  let started = false;

  const status = h("p", { class: "log-status" });
  const nothing = h("p");
  const trouble = h("p", { class: "note log-trouble", "data-level": "warn", hidden: true });
  const goOn = h(
    "button",
    { type: "button", hidden: true, onclick: () => search?.back(reader.pages.reach.last) },
    "Look further back",
  );
  const table = makeTable({
    label: "Entries of the log",
    columns: columns(app, reader),
    empty: nothing,
    rowClass: (row) => (row.note !== null ? "log-note" : row.index > reader.pages.reach.commit ? "log-open" : ""),
    onSelect: (place, row) => select(place === null ? null : (row?.index ?? indexOf(place))),
    onOpen: () => listeners.onOpen(),
    onVisible: look,
    onFollow: (follows) => {
      following = follows;
      listeners.onFollow(follows);
    },
  });
  const node = h(
    "div",
    { class: "log-view" },
    h("div", { class: "log-line" }, status, legend(), goOn),
    trouble,
    table.node,
  );

  /** The last entry, 0: none is known. Before the node has told, its reader has to guess that there is one. */
  const last = () => (end === null && reader.pages.size === 0 ? 0 : reader.pages.reach.last);
  const heads = () => (shown.first > 1 ? 1 : 0);
  const placeOf = (/** @type {number} */ index) => index - shown.first + heads();
  const indexOf = (/** @type {number} */ place) => place + shown.first - heads();

  /** @param {number} place @returns {Row | null} */
  function rowAt(place) {
    if (search) return matchAt(place);
    if (place < heads()) return { index: 0, entry: null, note: snapshotWords(shown.first) };
    const index = indexOf(place);
    const entry = reader.pages.get(index);
    if (entry === undefined) return reader.away ? { index, entry: null, note: "not read" } : null;
    return { index, entry, note: entry === null ? "this node has no entry here" : null };
  }

  /** @param {number} place @returns {Row | null} */
  function matchAt(place) {
    const entry = search?.matches.entries[place];
    return entry ? { index: entry.index, entry, note: null } : null;
  }

  /** @param {number} from @param {number} to */
  function look(from, to) {
    if (!search) reader.look(indexOf(from), indexOf(to - 1));
  }

  /** Entries have come, of the log or of the search, or the log has moved on. */
  function changed() {
    if (search) showMatches(search);
    else showLog();
    showStatus();
    tellSelected();
  }

  function showLog() {
    const { first } = reader.pages.reach;
    if (last() === 0) {
      reader.look(1, 1);
      return table.setRows({ count: 0, row: rowAt }, 0);
    }
    // A row at the end is shown once it has been read: otherwise each would flash up empty first.
    const to = following && reader.pages.readTo > 0 ? Math.max(shown.last, reader.pages.readTo) : last();
    const next = { first, last: Math.min(last(), to) };
    if (following && next.last < last()) reader.look(last() - 80, last());
    if (next.first === shown.first && next.last === shown.last) return table.refresh();
    const before = shown.last === 0 ? null : placeOf(next.last);
    shown = next;
    const shift = before === null ? 0 : placeOf(next.last) - before;
    table.setRows({ count: placeOf(shown.last) + 1, row: rowAt }, shift);
  }

  /** @type {Entry[]} */
  let matches = [];

  /** @param {LogSearch} running */
  function showMatches(running) {
    if (!started && last() > 0) {
      started = true;
      running.back(last());
    } else if (following && started) running.forward(last());
    goOn.hidden = !(running.matches.more && !running.busy && started);
    const next = running.matches.entries;
    if (next === matches) return table.refresh();
    const [known, now] = [matches[0]?.index, next[0]?.index];
    const shift =
      known === undefined || now === undefined
        ? 0
        : now <= known
          ? next.findIndex((entry) => entry.index >= known)
          : -matches.findIndex((entry) => entry.index >= now);
    matches = next;
    table.setRows({ count: next.length, row: rowAt }, shift);
  }

  function showStatus() {
    const { first, commit, applied } = reader.pages.reach;
    const words = search
      ? searchWords(search, last())
      : last() === 0
        ? ""
        : `${plain(name)} ${gone ? "had" : "has"} ${format.number(first)} to ${format.number(last())}; ` +
          `committed to ${format.number(commit)}, applied to ${format.number(applied)}`;
    text(status, words);
    text(
      nothing,
      last() === 0
        ? end === 0
          ? `${plain(name)} has nothing of the log yet.`
          : unknownWords(plain(name), reader.away || reader.trouble !== null)
        : search?.busy
          ? "Looking …"
          : search
            ? "Nothing that was looked at matches."
            : "The log is empty.",
    );
    const why = reader.trouble ?? search?.trouble ?? null;
    trouble.hidden = why === null;
    text(trouble, why === null ? "" : troubleWords(why));
  }

  /** @param {number | null} index */
  function select(index) {
    selected = index === 0 ? null : index;
    // What is being looked at must not run away.
    if (selected !== null && following) view.follow(false);
    told = "";
    tellSelected();
  }

  /** Tells of the selected entry when anything about it is not what was told before. */
  function tellSelected() {
    if (selected === null) {
      if (told !== "none") listeners.onSelect(null);
      told = "none";
      return;
    }
    const entry = search ? search.matches.entries.find(({ index }) => index === selected) : reader.pages.get(selected);
    const progress = progressWords(selected, reader.pages.reach);
    const state = `${selected} ${progress} ${entry ? `${entry.term} ${entry.digest} ${entry.trace}` : entry}`;
    if (state === told) return;
    told = state;
    listeners.onSelect({ index: selected, sides: [{ name, entry, progress }] });
  }

  /** @type {View} */
  const view = {
    node,
    update(cluster) {
      const member = cluster?.nodes.find(({ id }) => id === nodeId);
      gone = cluster !== null && hasLeft(cluster, nodeId);
      if (member) {
        name = member.name;
        end = member.last ?? end;
        moveReader(reader, member);
      }
      reader.away = !member?.reachable;
      changed();
    },
    jump(index) {
      if (search) return jumpToMatch(index);
      const { first } = reader.pages.reach;
      if (last() === 0) return "nothing is known of this log yet";
      if (index > last()) return `the log ends at ${format.number(last())}`;
      view.follow(false);
      table.select(placeOf(Math.max(index, first)), { align: "center" });
      return index < first
        ? `${format.number(index)} is in the snapshot; the log begins at ${format.number(first)}`
        : null;
    },
    follow(on) {
      following = on;
      if (on) reader.look(reader.pages.reach.last - 80, reader.pages.reach.last);
      table.follow(on);
      listeners.onFollow(on);
      if (on) changed();
    },
    focus: () => table.focus(),
    leave: () => table.select(null),
    destroy() {
      reader.stop();
      search?.stop();
      table.destroy();
    },
  };
  return view;

  /** @param {number} index */
  function jumpToMatch(index) {
    const place = matches.findIndex((entry) => entry.index >= index);
    if (place < 0) return `no match at ${format.number(index)} or after it`;
    table.select(place, { align: "center" });
    return null;
  }
}

/**
 * Whether a node is no member any more. A node that has just started and belongs to no cluster yet cannot tell.
 * @param {Cluster} cluster
 * @param {string} nodeId
 */
export const hasLeft = ({ nodes, voters }, nodeId) => voters > 0 && nodes.every(({ id }) => id !== nodeId);

/**
 * Tells a reader how far the log goes. Where the node has not told, the answer to the first request will.
 * @param {LogReader} reader
 * @param {{first: number | null, last: number | null, commit: number | null, applied: number | null}} told
 */
export function moveReader(reader, { first, last, commit, applied }) {
  if (last === 0) reader.moved({ first: 1, last, commit: 0, applied: 0 });
  else if (first !== null && last !== null) reader.moved({ first, last, commit: commit ?? 0, applied: applied ?? 0 });
  else if (reader.pages.reach.last === 0) reader.moved({ first: 1, last: 1, commit: 0, applied: 0 });
}

/** What the two marks before an index mean. */
export function legend() {
  const mark = (/** @type {string} */ far) =>
    h("span", { class: "log-marks", "data-far": far }, h("i", { class: far }));
  return h(
    "p",
    { class: "log-legend", "aria-hidden": "true" },
    mark("committed"),
    "committed",
    mark("applied"),
    "applied",
  );
}

/** @param {string} why  a sentence of the node, with or without its full stop */
export const troubleWords = (why) => `${plain(why.replace(/\.$/, ""), 400)}. What is shown was read before.`;

/** @param {string} name @param {boolean} failed */
const unknownWords = (name, failed) =>
  failed ? `Nothing is known of the log of ${name}.` : `Asking ${name} for its log …`;

/** @param {number} first */
const snapshotWords = (first) =>
  first === 2 ? "entry 1 is in the snapshot" : `entries 1 to ${format.number(first - 1)} are in the snapshot`;

/**
 * A long body is shown in part, and bytes that are no text are not searched: the words say what was.
 * @param {LogSearch} search
 * @param {number} last
 */
function searchWords({ matches, busy }, last) {
  if (last === 0) return "";
  const kept = matches.full ? " (as many as are kept)" : "";
  const found = `${format.counted(matches.entries.length, "match", "matches")}${kept}`;
  if (matches.looked === 0) return "looking …";
  const range = `${format.number(matches.from)} to ${format.number(matches.to)}`;
  const end = busy ? ", looking further back …" : matches.more ? "" : ": the whole log, of each text the first 16 KiB";
  return `${found} among ${format.counted(matches.looked, "entry", "entries")} looked at, ${range}${end}`;
}

/**
 * @param {App} app
 * @param {LogReader} reader
 * @returns {Column<Row>[]}
 */
function columns(app, reader) {
  /** @param {(entry: Entry) => string | Node | null | void} cell @returns {Column<Row>["cell"]} */
  const ofEntry = (cell) => (row) => (row.entry === null ? "" : cell(row.entry));
  return [
    {
      key: "index",
      title: "Index",
      width: "minmax(84px, 100px)",
      align: "end",
      cell: (row, cell) => indexCell(cell, row, reader.pages.reach),
    },
    { key: "term", title: "Term", width: "44px", align: "end", cell: ofEntry((entry) => format.number(entry.term)) },
    {
      key: "kind",
      title: "Kind",
      width: "76px",
      wide: true,
      cell: (row) => (row.entry ? KIND_WORDS[row.entry.kind] : row.index === 0 ? "snapshot" : ""),
    },
    {
      key: "content",
      title: "Content",
      width: "minmax(120px, 1fr)",
      cell: (row, cell) => contentCell(cell, row, app.cluster()?.show_content === false),
    },
    {
      key: "size",
      title: "Size",
      width: "68px",
      align: "end",
      wide: true,
      cell: ofEntry((entry) => format.bytes(entry.size)),
    },
    {
      key: "session",
      title: "Session",
      width: "76px",
      wide: true,
      cell: ofEntry((entry) => (entry.session === null ? "–" : shortSession(entry.session))),
    },
    {
      key: "time",
      title: "Time",
      width: "96px",
      align: "end",
      wide: true,
      cell: ofEntry((entry) => format.clock(entry.time)),
    },
    {
      key: "trace",
      title: "Trace",
      width: "76px",
      wide: true,
      cell: (row, cell) => traceCell(cell, row.entry?.trace ?? null, app.cluster()?.trace_url ?? null),
    },
  ];
}

/**
 * The index with two thin marks before it: committed, and applied. For a screen reader they are words.
 * @param {HTMLElement} cell
 * @param {{index: number}} row
 * @param {{first: number, commit: number, applied: number}} reach
 */
export function indexCell(cell, { index }, reach) {
  if (cell.childElementCount !== 3) {
    const marks = h(
      "span",
      { class: "log-marks", "aria-hidden": "true" },
      h("i", { class: "committed" }),
      h("i", { class: "applied" }),
    );
    replace(cell, marks, h("span"), h("span", { class: "sr" }));
  }
  const [marks, number, words] = /** @type {[Element, Element, Element]} */ ([...cell.children]);
  const [committed, applied] = [index <= reach.commit, index <= reach.applied];
  attribute(marks, "data-far", applied ? "applied" : committed ? "committed" : "open");
  attribute(marks, "title", index === 0 ? null : progressWords(index, reach));
  text(number, index === 0 ? `1–${format.number(reach.first - 1)}` : (format.number(index) ?? ""));
  text(words, index === 0 ? "" : `, ${progressWords(index, reach)}`);
}

/** What a cell shows now, so that it is not drawn again. @type {WeakMap<HTMLElement, unknown>} */
const drawn = new WeakMap();

/**
 * @param {HTMLElement} cell
 * @param {Row} row
 * @param {boolean} masked
 */
function contentCell(cell, row, masked) {
  const value = row.entry ?? row.note;
  if (drawn.get(cell) === value && cell.firstChild !== null) return;
  drawn.set(cell, value);
  replace(cell, ...(row.entry ? contentLine(row.entry, masked) : [h("span", { class: "log-gap" }, row.note)]));
}

/**
 * @param {HTMLElement} cell
 * @param {string | null} trace
 * @param {string | null} traceUrl
 */
function traceCell(cell, trace, traceUrl) {
  if (trace === null) return text(cell, "–");
  if (cell.firstElementChild?.getAttribute("title") === trace) return;
  replace(cell, traceLink(traceUrl, trace, format.shortId(trace)));
}
