// The logs of two nodes side by side, in rows of one index each, and how they compare. One table has both, so they
// scroll as one.

import { makeTable } from "../lib/table.js";
import { attribute, h, replace, text } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { contentLine, progressWords } from "./log_entry.js";
import { Compared, comparedWords, firstDifference, isDifference, likeness } from "./log_model.js";
import { LogReader } from "./log_reader.js";
import { hasLeft, indexCell, legend, moveReader, troubleWords } from "./log_single.js";
import { inline, plain } from "./content.js";

/** @import { App, Cluster, Entry, LogPart } from "../lib/types.js" */
/** @import { Column } from "../lib/table.js" */
/** @import { Likeness } from "./log_model.js" */
/** @import { Listeners, View } from "./log_single.js" */

/** Entries of one request while both logs are walked through. */
const WALK_LIMIT = 1000;

/** @typedef {{index: number, likeness: Likeness | "none", left: Entry | null, right: Entry | null}} Row */

/**
 * The sign of a likeness, and its word; `%` stands for the node that it is about.
 * @type {Record<Likeness | "none", [string, string]>}
 */
const SIGNS = {
  equal: ["=", "equal"],
  term: ["≠", "other term"],
  content: ["‼", "other content"],
  missing_left: ["∅", "missing on %"],
  missing_right: ["∅", "missing on %"],
  behind_left: ["→", "not yet on %"],
  behind_right: ["→", "not yet on %"],
  ended_left: ["→", "not on %"],
  ended_right: ["→", "not on %"],
  compacted_left: ["▤", "in snapshot of %"],
  compacted_right: ["▤", "in snapshot of %"],
  unknown: ["?", "not read"],
  none: ["▤", "in both snapshots"],
};

/**
 * @param {App} app
 * @param {string} leftId
 * @param {string} rightId
 * @param {Cluster} cluster
 * @param {Listeners} listeners
 * @returns {View}
 */
export function makePair(app, leftId, rightId, cluster, listeners) {
  const left = new LogReader(leftId, app.get, changed);
  const right = new LogReader(rightId, app.get, changed);
  const nameOf = (/** @type {string} */ id) => cluster.nodes.find((node) => node.id === id)?.name ?? id;
  const names = { left: nameOf(leftId), right: nameOf(rightId) };
  const gone = { left: false, right: false };
  const compared = new Compared();
  let following = false;
  let shown = { first: 1, last: 0 };
  let seen = { from: 1, to: 0 };
  /** @type {number | null} */
  let selected = null;
  let told = "";
  /** @type {AbortController | null} */
  let walk = null;

  const summary = h("strong", { class: "pair-summary" });
  const progress = h("span", { class: "muted pair-progress" });
  const walkButton = h("button", { type: "button", onclick: () => (walk ? walk.abort() : find()) });
  const trouble = h("p", { class: "note log-trouble", "data-level": "warn", hidden: true });
  const table = makeTable({
    label: "Entries of both logs",
    columns: columns(names, left, right, gone, () => app.cluster()?.show_content === false),
    empty: "",
    rowClass: (row) => `pair-row pair-${row.likeness.replace(/_.*/, "")}`,
    onSelect: (place) => {
      selected = place === null || place < heads() ? null : indexOf(place);
      if (selected !== null && following) view.follow(false);
      told = "";
      tellSelected();
      showWalk();
    },
    onOpen: () => listeners.onOpen(),
    onVisible: (from, to) => look(indexOf(from), indexOf(to - 1)),
    onFollow: (follows) => {
      following = follows;
      listeners.onFollow(follows);
    },
  });
  const node = h(
    "div",
    { class: "log-view" },
    h("div", { class: "log-line" }, walkButton, summary, progress, legend()),
    trouble,
    table.node,
  );
  showWalk();

  const heads = () => (shown.first > 1 ? 1 : 0);
  const placeOf = (/** @type {number} */ index) => index - shown.first + heads();
  const indexOf = (/** @type {number} */ place) => place + shown.first - heads();
  const common = () => ({
    from: Math.max(left.pages.reach.first, right.pages.reach.first),
    to: Math.min(left.pages.reach.last, right.pages.reach.last),
  });

  /** @param {number} index @returns {Likeness} */
  function likenessAt(index) {
    const alike = likeness(index, left.pages, right.pages);
    if (alike === "behind_left" && gone.left) return "ended_left";
    return alike === "behind_right" && gone.right ? "ended_right" : alike;
  }

  /** @param {number} place @returns {Row | null} */
  function rowAt(place) {
    if (place < heads()) return { index: 0, likeness: "none", left: null, right: null };
    const index = indexOf(place);
    const [here, there] = [left.pages.get(index), right.pages.get(index)];
    const alike = likenessAt(index);
    if (waits(left, index) || waits(right, index)) return null;
    return { index, likeness: alike, left: here ?? null, right: there ?? null };
  }

  /** @param {number} from @param {number} to */
  function look(from, to) {
    seen = { from, to };
    left.look(from, to);
    right.look(from, to);
  }

  function changed() {
    const [a, b] = [left.pages.reach, right.pages.reach];
    for (let index = Math.max(seen.from, 1); index <= seen.to; index++)
      compared.record(index, likeness(index, left.pages, right.pages));
    const last = Math.max(a.last, b.last);
    // A row at the end is shown once both sides have been read: otherwise each would flash up empty first.
    const ready = following && shown.last > 0 ? Math.max(shown.last, Math.min(readyTo(left), readyTo(right))) : last;
    if (following && shown.last < last) look(last - 80, last);
    show({ first: Math.min(a.first, b.first), last: Math.min(last, ready) });
    showSummary();
    tellSelected();
  }

  /** @param {{first: number, last: number}} next */
  function show(next) {
    if (left.pages.reach.last === 0 && right.pages.reach.last === 0) return;
    if (next.first === shown.first && next.last === shown.last) return table.refresh();
    const before = shown.last === 0 ? null : placeOf(next.last);
    shown = next;
    table.setRows({ count: placeOf(shown.last) + 1, row: rowAt }, before === null ? 0 : placeOf(shown.last) - before);
  }

  function showSummary() {
    const { from, to } = common();
    if (left.pages.reach.last > 0 && right.pages.reach.last > 0)
      text(summary, comparedWords(compared, Math.max(0, to - from + 1)));
    attribute(summary, "title", summary.textContent);
    summary.dataset["level"] = compared.different.length > 0 ? "bad" : "good";
    const why = left.trouble ?? right.trouble;
    trouble.hidden = why === null;
    text(trouble, why === null ? "" : troubleWords(why));
  }

  function showWalk() {
    const goesOn = selected !== null && compared.different.includes(selected);
    text(walkButton, walk ? "Stop" : goesOn ? "Find the next difference" : "Compare all of both");
  }

  /** Walks through what both have, from the start, or on from the selected difference, to the first difference. */
  async function find() {
    const range = common();
    const from = selected !== null && compared.different.includes(selected) ? selected + 1 : range.from;
    if (from > range.to) return app.toast("There is nothing further to compare.", "warn");
    walk = new AbortController();
    showWalk();
    const { signal } = walk;
    try {
      const at = await firstDifference({
        from,
        to: range.to,
        limit: WALK_LIMIT,
        compared,
        read: (side, start, limit) => read(side, start, limit, signal),
        onProgress: tellProgress,
      });
      found(at, from, range.to);
    } catch (error) {
      if (!signal.aborted)
        app.toast(`The comparison stopped: ${error instanceof Error ? error.message : error}`, "bad");
    } finally {
      walk = null;
      text(progress, "");
      showWalk();
      showSummary();
    }

    /** @param {number} done */
    function tellProgress(done) {
      text(progress, `comparing: ${format.number(done)} of ${format.number(range.to)}`);
      showSummary();
    }
  }

  /**
   * @param {"left" | "right"} side
   * @param {number} from
   * @param {number} limit
   * @param {AbortSignal} signal
   * @returns {Promise<Entry[]>}
   */
  async function read(side, from, limit, signal) {
    const id = side === "left" ? leftId : rightId;
    /** @type {LogPart} */
    const part = await app.get(`api/log?node=${encodeURIComponent(id)}&from=${from}&limit=${limit}`, signal);
    return part.entries;
  }

  /**
   * @param {number | null} at
   * @param {number} from
   * @param {number} to
   */
  function found(at, from, to) {
    if (at === null) return app.toast(`No difference from ${format.number(from)} to ${format.number(to)}.`);
    app.toast(`The logs differ at ${format.number(at)}.`, "bad");
    view.jump(at);
    table.focus();
  }

  function tellSelected() {
    if (selected === null) {
      if (told !== "none") listeners.onSelect(null);
      told = "none";
      return;
    }
    const index = selected;
    const sides = [left, right].map((reader, at) => ({
      name: at === 0 ? names.left : names.right,
      entry: reader.pages.get(index),
      progress: (at === 0 ? gone.left : gone.right) ? "no longer a member" : progressWords(index, reader.pages.reach),
    }));
    const alike = likenessAt(index);
    const state = JSON.stringify([
      index,
      alike,
      sides.map(({ entry, progress }) => [progress, entry?.term, entry?.digest, entry === undefined]),
    ]);
    if (state === told) return;
    told = state;
    listeners.onSelect({ index, sides, words: likenessWords(alike, index, left, right, names) });
  }

  /** @type {View} */
  const view = {
    node,
    update(now) {
      for (const [reader, side] of /** @type {[LogReader, "left" | "right"][]} */ ([
        [left, "left"],
        [right, "right"],
      ])) {
        const member = now?.nodes.find(({ id }) => id === reader.node);
        gone[side] = now !== null && hasLeft(now, reader.node);
        reader.away = !member?.reachable;
        if (!member) continue;
        names[side] = member.name;
        moveReader(reader, member);
      }
      changed();
    },
    jump(index) {
      if (shown.last === 0) return "nothing is known of these logs yet";
      if (index > shown.last) return `both logs end at ${format.number(shown.last)} or before`;
      view.follow(false);
      table.select(placeOf(Math.max(index, shown.first)), { align: "center" });
      return index < shown.first
        ? `${format.number(index)} is in the snapshots; the logs begin at ${format.number(shown.first)}`
        : null;
    },
    follow(on) {
      following = on;
      table.follow(on);
      listeners.onFollow(on);
      if (on) changed();
    },
    focus: () => table.focus(),
    leave: () => table.select(null),
    destroy() {
      walk?.abort();
      left.stop();
      right.stop();
      table.destroy();
    },
  };
  return view;
}

/**
 * What a likeness means, in a sentence.
 * @param {Likeness} alike
 * @param {number} index
 * @param {LogReader} left
 * @param {LogReader} right
 * @param {{left: string, right: string}} names
 */
function likenessWords(alike, index, left, right, names) {
  const about = plain(alike.endsWith("_left") ? names.left : names.right);
  const committed = index <= left.pages.reach.commit && index <= right.pages.reach.commit;
  switch (alike) {
    case "equal":
      return "Both logs have the same entry here.";
    case "term":
      return committed
        ? "Two different entries are committed at one index. Raft rules that out: a node has lost or changed its log."
        : "Two leaders put different entries here. At most one of them can be committed; the other will be replaced.";
    case "content":
      return "One term, and different content. A leader makes one entry at an index: one of the two is corrupt.";
    case "missing_left":
    case "missing_right":
      return `The log of ${about} goes further, but has no entry here.`;
    case "behind_left":
    case "behind_right":
      return `This entry has not been replicated to ${about} yet.`;
    case "ended_left":
    case "ended_right":
      return `${about} is no longer a member: it gets no more entries.`;
    case "compacted_left":
    case "compacted_right":
      return `${about} has this entry in its snapshot, so it cannot be compared.`;
    case "unknown":
      return "One side was not read, so nothing can be compared.";
  }
}

/**
 * @param {{left: string, right: string}} names
 * @param {LogReader} left
 * @param {LogReader} right
 * @param {{left: boolean, right: boolean}} gone
 * @param {() => boolean} masked
 * @returns {Column<Row>[]}
 */
function columns(names, left, right, gone, masked) {
  const term = (/** @type {Entry | null} */ entry) => (entry === null ? "" : format.number(entry.term));
  const reach = (/** @type {Row} */ row) =>
    row.index === 0
      ? { ...left.pages.reach, first: Math.min(left.pages.reach.first, right.pages.reach.first) }
      : both(left, right, gone);
  return [
    {
      key: "index",
      title: "Index",
      width: "minmax(84px, 96px)",
      align: "end",
      cell: (row, cell) => indexCell(cell, row, reach(row)),
    },
    {
      key: "state",
      title: "Compared",
      width: "minmax(112px, 148px)",
      cell: (row, cell) => likenessCell(cell, row.likeness, names),
    },
    {
      key: "left-term",
      title: `${plain(names.left, 30)} term`,
      width: "minmax(44px, 64px)",
      align: "end",
      cell: (row) => term(row.left),
    },
    {
      key: "left",
      title: `${plain(names.left, 30)} content`,
      width: "minmax(100px, 1fr)",
      wide: true,
      cell: (row, cell) => sideCell(cell, row.left, row, "left", masked()),
    },
    {
      key: "right-term",
      title: `${plain(names.right, 30)} term`,
      width: "minmax(44px, 64px)",
      align: "end",
      cell: (row) => term(row.right),
    },
    {
      key: "right",
      title: `${plain(names.right, 30)} content`,
      width: "minmax(100px, 1fr)",
      wide: true,
      cell: (row, cell) => sideCell(cell, row.right, row, "right", masked()),
    },
  ];
}

/**
 * Whether an entry that the node has is still to be read.
 * @param {LogReader} reader
 * @param {number} index
 */
function waits({ pages, away }, index) {
  return !away && index >= pages.reach.first && index <= pages.reach.last && pages.get(index) === undefined;
}

/**
 * Up to where nothing of a log has to be waited for.
 * @param {LogReader} reader
 */
function readyTo({ pages, away }) {
  return !away && pages.readTo < pages.reach.last ? pages.readTo : Infinity;
}

/**
 * What is committed, as either knows it, and applied on both, or on the one that is left.
 * @param {LogReader} left
 * @param {LogReader} right
 * @param {{left: boolean, right: boolean}} gone
 */
function both(left, right, gone) {
  const [a, b] = [left.pages.reach, right.pages.reach];
  const applied = gone.left ? b.applied : gone.right ? a.applied : Math.min(a.applied, b.applied);
  return { first: 1, commit: Math.max(a.commit, b.commit), applied };
}

/**
 * @param {HTMLElement} cell
 * @param {Row["likeness"]} alike
 * @param {{left: string, right: string}} names
 */
function likenessCell(cell, alike, names) {
  if (cell.dataset["alike"] === alike && cell.firstChild) return;
  cell.dataset["alike"] = alike;
  const [sign, words] = SIGNS[alike];
  const [before, after] = words.split("%");
  const name = alike.endsWith("_left") ? names.left : names.right;
  replace(
    cell,
    h("span", { class: "pair-sign", "aria-hidden": "true" }, sign),
    " ",
    before,
    after !== undefined && [inline(name, 40), after],
  );
}

/** @type {WeakMap<HTMLElement, unknown>} */
const drawn = new WeakMap();

/**
 * @param {HTMLElement} cell
 * @param {Entry | null} entry
 * @param {Row} row
 * @param {"left" | "right"} side
 * @param {boolean} masked
 */
function sideCell(cell, entry, row, side, masked) {
  const value = entry ?? absenceWords(row.likeness, side);
  if (drawn.get(cell) === value && (cell.firstChild !== null || value === "")) return;
  drawn.set(cell, value);
  replace(cell, ...(entry ? contentLine(entry, masked) : [h("span", { class: "log-gap" }, String(value))]));
}

/**
 * Why there is no entry on a side.
 * @param {Row["likeness"]} alike
 * @param {"left" | "right"} side
 */
function absenceWords(alike, side) {
  if (alike === "unknown") return "not read";
  if (alike === "none") return "in the snapshot";
  if (!alike.endsWith(`_${side}`)) return "";
  if (isDifference(alike)) return "no entry";
  if (alike.startsWith("ended")) return "not here";
  return alike.startsWith("behind") ? "not yet here" : "in the snapshot";
}
