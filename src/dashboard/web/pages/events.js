// The page of events: what happened on all nodes as a picture, and in words.

import { attribute, h, list, replace, text } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { isForPage } from "../lib/keys.js";
import { makeRing } from "../lib/ring.js";
import { makeTable } from "../lib/table.js";
import { inline, plain, setInline } from "./content.js";
import { SIGNS, signFor, signMark } from "./event_kinds.js";
import { makeTimeline } from "./timeline.js";
import { EVENTS_MAX, arrows, lanes, merged, skew } from "./timeline_model.js";

/** @import { App, Cluster, Event, Node, Part } from "../lib/types.js" */
/** @import { Column } from "../lib/table.js" */
/** @import { Arrow, Lane } from "./timeline_model.js" */

export const title = "Events";
export const styles = ["content.css", "events.css"];
/** @type {[string, string][]} */
export const keys = [
  ["p", "Hold the timeline, or go on"],
  ["← →", "In the timeline: from event to event"],
  ["↑ ↓", "In the timeline: from node to node"],
  ["+ −", "In the timeline: a shorter, a longer stretch of time"],
  ["Shift ← →", "In the timeline: earlier, later"],
  ["Home End", "In the timeline: the first event, the present"],
];

const MINUTE_MS = 60_000;
const STRETCHES = [1, 5, 15, 60];
/** Events of one request for older ones. */
const OLDER = 1000;
/** How often older events are asked for at most. */
const OLDER_PAUSE_MS = 1000;

/**
 * @param {HTMLElement} root
 * @param {App} app
 */
export function mount(root, app) {
  /** @type {readonly Event[]} */
  let events = [];
  /** @type {{lanes: readonly Lane[], arrows: readonly Arrow[]}} */
  let picture = { lanes: [], arrows: [] };
  /** Roles, as the lanes were drawn with them. */
  let drawnRoles = "";
  /** What the clock of the cluster shows, less that of the browser. */
  let ahead = Date.now() - performance.now();
  const older = { controller: new AbortController(), busy: false, more: true, after: 0 };

  const timeline = makeTimeline({
    now: () => performance.now() + ahead,
    onSelect: (event) => table.select(event),
    onView: showView,
    announce: app.announce,
  });
  const table = makeEventTable((event) => timeline.select(event));
  const stretches = STRETCHES.map((minutes) =>
    h("button", { type: "button", onclick: () => timeline.show(minutes * MINUTE_MS) }, `${minutes} min`),
  );
  const hold = h(
    "button",
    { type: "button", class: "events-hold", "aria-keyshortcuts": "p", onclick: toggleHold },
    "Hold",
  );
  const shown = h("span", { class: "muted events-shown" });
  const tools = h(
    "div",
    { class: "row events-tools" },
    h("div", { class: "row", role: "group", "aria-label": "Stretch of time" }, stretches),
    h(
      "button",
      {
        type: "button",
        class: "icon",
        "aria-label": "Shorter stretch",
        title: "Shorter stretch (+)",
        onclick: () => timeline.zoom(0.5),
      },
      "+",
    ),
    h(
      "button",
      {
        type: "button",
        class: "icon",
        "aria-label": "Longer stretch",
        title: "Longer stretch (-)",
        onclick: () => timeline.zoom(2),
      },
      "−",
    ),
    hold,
    shown,
  );
  const clocks = h("p", { class: "muted events-clocks" });
  const ring = makeRing({ link: (node) => `#/cluster?node=${node.id}` });
  const side = h("aside", { class: "card events-ring", "aria-label": "Heartbeats" }, ring.node);
  replace(
    root,
    h("div", { class: "page-head" }, h("h1", null, title), tools),
    h(
      "div",
      { class: "events-top" },
      h("section", { class: "card events-picture", "aria-label": "Timeline" }, timeline.node, legend(), clocks),
      side,
    ),
    table.node,
  );
  root.classList.add("events");

  /** @param {readonly Event[]} more */
  function addEvents(more) {
    const next = merged(events, more);
    if (next === events) return;
    events = next;
    table.setEvents(events);
    redraw();
  }

  function redraw() {
    const nodes = app.cluster()?.nodes ?? [];
    drawnRoles = rolesOf(nodes);
    picture = { lanes: lanes(events, nodes), arrows: arrows(events) };
    timeline.update({ events, ...picture });
    showClocks();
  }

  /** @param {Cluster} cluster */
  function onCluster(cluster) {
    const fresh = cluster.now - performance.now();
    ahead = Math.abs(fresh - ahead) > 1000 ? fresh : ahead + (fresh - ahead) * 0.1;
    ring.update(cluster);
    table.setNodes(cluster.nodes);
    if (rolesOf(cluster.nodes) !== drawnRoles) redraw();
  }

  function showClocks() {
    const worst = skew(picture.arrows);
    const found = worst
      ? ` The clock of ${plain(worst.behind, 40)} is behind that of ${plain(worst.ahead, 40)} by ` +
        `${format.milliseconds(worst.ms)} at least: a vote arrived before it was given.`
      : "";
    text(
      clocks,
      `Every node tells the time by its own clock, so what happened on two nodes may stand in the wrong order.${found}`,
    );
    attribute(clocks, "data-level", worst ? "warn" : null);
  }

  function showView() {
    const { span, follows } = timeline.view();
    stretches.forEach((button, at) =>
      attribute(button, "aria-pressed", String(span === (STRETCHES[at] ?? 0) * MINUTE_MS)),
    );
    attribute(hold, "aria-pressed", String(!follows));
    text(hold, follows ? "Hold" : "Go on");
    const from = timeline.from();
    text(
      shown,
      follows
        ? `the last ${(format.duration(span) ?? "").replace(/ 0 .*/, "")}`
        : `${format.clock(from)?.slice(0, 8)} to ${format.clock(from + span)?.slice(0, 8)}`,
    );
    fetchOlder();
  }

  function toggleHold() {
    const held = timeline.view().follows;
    timeline.follow(!held);
    app.announce(held ? "The timeline is held." : "The timeline follows the present.");
  }

  /** Asks for what happened before, as far back as the picture goes. */
  async function fetchOlder() {
    const oldest = events[0]?.at ?? Infinity;
    if (older.busy || !older.more || events.length >= EVENTS_MAX || oldest < timeline.from()) return;
    if (performance.now() < older.after) return;
    older.busy = true;
    older.after = performance.now() + OLDER_PAUSE_MS;
    try {
      const before = Number.isFinite(oldest) ? `&before=${oldest}` : "";
      /** @type {{events: Event[]}} */
      const answer = await app.get(`api/events?limit=${OLDER}${before}`, older.controller.signal);
      const known = events.length;
      addEvents(answer.events);
      older.more = events.length > known;
    } catch {
      // The stream brings what happens; what happened before is asked for again when the picture changes.
    } finally {
      older.busy = false;
    }
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    if (event.key !== "p" || !isForPage(event)) return;
    event.preventDefault();
    toggleHold();
  }

  document.addEventListener("keydown", onKey);
  const offs = [app.on("cluster", onCluster), app.on("events", addEvents)];
  const cluster = app.cluster();
  if (cluster) onCluster(cluster);
  addEvents(app.events());
  redraw();
  showView();

  return () => {
    for (const off of offs) off();
    document.removeEventListener("keydown", onKey);
    older.controller.abort();
    timeline.destroy();
    table.destroy();
  };
}

/** @param {readonly Node[]} nodes */
const rolesOf = (nodes) => nodes.map(({ id, role, term, reachable }) => `${id} ${role} ${term} ${reachable}`).join();

/** What the signs and lines of the picture mean. */
function legend() {
  /** @type {(keyof typeof SIGNS)[]} */
  const signs = [
    "step_down",
    "transfer",
    "membership",
    "snapshot",
    "connected",
    "connection",
    "disk",
    "process",
    "trouble",
  ];
  /** @type {[string, string][]} */
  const lines = [
    ["vote", "vote"],
    ["pre_vote", "pre-vote"],
  ];
  return h(
    "ul",
    { class: "events-legend", "aria-hidden": "true" },
    lines.map(([kind, word]) => h("li", null, h("i", { class: "legend-line", "data-kind": kind }), word)),
    signs.map((sign) =>
      h(
        "li",
        null,
        h("span", { class: "tl-sign", "data-sign": sign }, signMark(sign)),
        sign === "connection" ? "lost connection" : SIGNS[sign].word,
      ),
    ),
  );
}

/**
 * The events in words, the newest first, with what they are filtered by.
 * @param {(event: Event | null) => void} onSelect
 */
function makeEventTable(onSelect) {
  /** @type {readonly Event[]} */
  let all = [];
  /** The newest first. @type {Event[]} */
  let rows = [];
  /** @type {Event | null} */
  let selected = null;
  const node = h("select", { "aria-label": "Node", onchange: filterAnew });
  const any = h("option", { value: "" }, "all nodes");
  const kinds = Object.entries(SIGNS).filter(([name]) => name !== "step_down" && name !== "connected");
  const kind = h(
    "select",
    { "aria-label": "Kind", onchange: filterAnew },
    h("option", { value: "" }, "all kinds"),
    h("option", { value: "!" }, "warnings and errors"),
    kinds.map(([name, { word }]) => h("option", { value: name }, word)),
  );
  const words = h("input", {
    type: "search",
    size: 16,
    placeholder: "Words",
    "aria-label": "Words",
    spellcheck: "false",
    autocomplete: "off",
    oninput: filterAnew,
  });
  const count = h("span", { class: "muted", role: "status" });
  const table = makeTable({
    label: "Events, the newest first",
    columns: columns(),
    empty: "No event matches.",
    rowClass: (event) => `event-${event.level}`,
    onSelect: (_, event) => pick(event),
  });

  /** @param {Event | null} event */
  function pick(event) {
    selected = event;
    onSelect(event);
  }

  /** @param {Event} event */
  function matches(event) {
    const wanted = words.value.toLowerCase();
    const kindFits = kind.value === "" || (kind.value === "!" ? event.level !== "info" : event.kind === kind.value);
    return (
      kindFits &&
      (node.value === "" || event.node === node.value) &&
      (wanted === "" || `${event.name} ${event.words}`.toLowerCase().includes(wanted))
    );
  }

  function filterAnew() {
    rows = [];
    show();
    table.select(selected ? rows.indexOf(selected) : null, { quiet: true });
  }

  function show() {
    const atTop = table.position() < 2;
    const before = rows[0];
    rows = all.filter(matches).reverse();
    const came = before ? rows.indexOf(before) : 0;
    table.setRows({ count: rows.length, row: (place) => rows[place] ?? null }, Math.max(0, came));
    // An event that comes late stands in the middle: the selection stays with its event.
    const place = selected ? rows.indexOf(selected) : -1;
    if (place >= 0 && place !== table.selected()) table.select(place, { quiet: true });
    // Whoever looks at the newest goes on looking at the newest.
    if (atTop) table.scrollTo(0);
    text(
      count,
      rows.length === all.length
        ? format.counted(all.length, "event")
        : `${format.number(rows.length)} of ${format.counted(all.length, "event")}`,
    );
  }

  return {
    node: h(
      "section",
      { class: "events-list", "aria-label": "Events in words" },
      h("div", { class: "row" }, node, kind, words, count),
      table.node,
    ),
    /** @param {readonly Event[]} events */
    setEvents(events) {
      all = events;
      show();
    },
    /** @param {readonly Node[]} nodes */
    setNodes(nodes) {
      /** @type {{id: string, name: string}[]} */
      const options = [{ id: "", name: "" }, ...nodes];
      list(node, options, ({ id }) => id, nodeOption(any));
    },
    /** @param {Event | null} event */
    select(event) {
      selected = event;
      const place = event ? rows.indexOf(event) : -1;
      table.select(place < 0 ? null : place, { quiet: true, align: "center" });
    },
    destroy: () => table.destroy(),
  };
}

/**
 * @param {HTMLOptionElement} any
 * @returns {(item: {id: string, name: string}) => Part<{id: string, name: string}>}
 */
const nodeOption =
  (any) =>
  ({ id }) => {
    if (id === "") return { node: any, update: () => {} };
    const node = h("option", { value: id });
    return { node, update: ({ name }) => text(node, plain(name, 60)) };
  };

/** @returns {Column<Event>[]} */
function columns() {
  return [
    { key: "at", title: "Time", width: "96px", cell: (event, cell) => timeCell(cell, event) },
    {
      key: "node",
      title: "Node",
      width: "minmax(44px, 110px)",
      cell: (event, cell) => foreignCell(cell, event.name, 40),
    },
    { key: "kind", title: "Kind", width: "176px", wide: true, cell: (event, cell) => kindCell(cell, event) },
    {
      key: "words",
      title: "What happened",
      width: "minmax(140px, 1fr)",
      cell: (event, cell) => wordsCell(cell, event),
    },
    { key: "term", title: "Term", width: "56px", align: "end", wide: true, cell: (event) => format.number(event.term) },
  ];
}

/** @param {HTMLElement} cell @param {Event} event */
function timeCell(cell, event) {
  attribute(cell, "title", format.dateTime(event.at));
  return format.clock(event.at);
}

/** @param {HTMLElement} cell @param {string} value @param {number} max */
function foreignCell(cell, value, max) {
  if (cell.firstElementChild?.localName !== "bdi") replace(cell, inline(value, max));
  else setInline(cell.firstElementChild, value, max);
}

/** @param {HTMLElement} cell @param {Event} event */
function kindCell(cell, event) {
  const { kind, level } = event;
  const key = `${kind} ${level}`;
  if (cell.dataset["kind"] === key && cell.firstChild) return;
  cell.dataset["kind"] = key;
  const weight = level === "info" ? "" : level === "warn" ? ", warning" : ", error";
  replace(
    cell,
    h("span", { class: "tl-sign", "data-sign": kind, "data-level": level }, signMark(signFor(event))),
    ` ${SIGNS[kind].word}${weight}`,
  );
}

/** @param {HTMLElement} cell @param {Event} event */
function wordsCell(cell, event) {
  attribute(cell, "title", event.words.length > 60 ? event.words : null);
  foreignCell(cell, event.words, 600);
}
