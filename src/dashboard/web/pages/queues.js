// The page of queues: what all of them hold together, and each in a row.

import { sparkline } from "../lib/chart.js";
import { attribute, h, replace, show, text } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { isForPage } from "../lib/keys.js";
import { makeTable } from "../lib/table.js";
import { inline, setInline } from "./content.js";
import { makeTotals } from "./queue_totals.js";
import { PAGE, PAGES_MAX, QueuePages } from "./queues_model.js";

/** @import { App, Queue, QueueList } from "../lib/types.js" */
/** @import { Column } from "../lib/table.js" */
/** @import { Sort } from "./queues_model.js" */

export const title = "Queues";
export const styles = ["content.css", "queues.css"];
/** @type {[string, string][]} */
export const keys = [
  ["/", "Filter by name"],
  ["↑ ↓ PgUp PgDn Home End", "Move through the queues"],
  ["Enter", "Open the queue"],
];

const FILTER_MS = 200;
/** Beyond so many pages, all of which have to be fetched, numbers are brought up to date less often. */
const PAGES_QUICK = 5;
const SLOW_MS = 10_000;

/**
 * @param {HTMLElement} root
 * @param {App} app
 */
export function mount(root, app) {
  /** @type {Sort} */
  let sort = readSort(app.params.get("sort"));
  let filter = app.params.get("filter") ?? "";
  let pages = new QueuePages();
  let visible = { from: 0, to: 60 };
  /** @type {readonly string[]} */
  let rows = [];
  /** @type {string | null} */
  let selected = null;
  /** @type {AbortController | null} */
  let running = null;
  let again = false;
  let slowAfter = 0;
  let filterTimer = 0;

  const totals = makeTotals();
  const input = h("input", {
    type: "search",
    size: 22,
    value: filter,
    placeholder: "Filter by name",
    "aria-label": "Filter by name",
    "aria-keyshortcuts": "/",
    autocomplete: "off",
    spellcheck: "false",
    maxlength: 255,
    oninput: onFilter,
  });
  const count = h("span", { class: "muted", role: "status" });
  const age = h("span", { class: "muted queues-age" });
  const trouble = h("p", { class: "note", "data-level": "warn", hidden: true });
  const nothing = h("p", null, "Asking for the queues …");
  const table = makeTable({
    label: "Queues",
    columns: columns(),
    empty: nothing,
    onSelect: (_, queue) => {
      selected = queue?.name ?? null;
    },
    onOpen: (_, queue) => app.go(queueHash(queue.name)),
    onVisible: (from, to) => {
      visible = { from, to };
      if (to > rows.length && pages.more) refresh();
    },
    onSort: (key) => {
      sort = readSort(key);
      restart();
    },
  });
  replace(
    root,
    h("div", { class: "page-head" }, h("h1", null, title), h("div", { class: "row" }, count, input)),
    totals.node,
    trouble,
    table.node,
    age,
  );
  root.classList.add("queues");

  /** Begins anew, with another order or filter. */
  function restart() {
    const params = new URLSearchParams();
    if (sort !== "name") params.set("sort", sort);
    if (filter !== "") params.set("filter", filter);
    app.replace(params);
    running?.abort();
    running = null;
    pages = new QueuePages();
    visible = { from: 0, to: 60 };
    slowAfter = 0;
    table.select(null, { quiet: true });
    selected = null;
    table.scrollTo(0);
    showSort();
    refresh();
  }

  /** Fetches what is visible. What is asked for meanwhile is done afterwards, once. */
  async function refresh() {
    if (running) {
      again = true;
      return;
    }
    const mine = new AbortController();
    running = mine;
    again = false;
    try {
      await fetchPages(mine.signal);
      showTrouble(null);
    } catch (error) {
      if (!mine.signal.aborted) showTrouble(error);
    } finally {
      if (running === mine) {
        running = null;
        if (again) refresh();
      }
    }
  }

  /** @param {AbortSignal} signal */
  async function fetchPages(signal) {
    const into = pages;
    for (const page of into.wanted(visible.from, visible.to, sort)) {
      const query = new URLSearchParams({ limit: String(PAGE), sort });
      if (filter !== "") query.set("filter", filter);
      if (into.after(page) !== "") query.set("after", into.after(page));
      /** @type {QueueList} */
      const answer = await app.get(`api/queues?${query}`, signal);
      if (signal.aborted) return;
      // By a number, the order changes all the time: it is kept while a queue is selected.
      into.put(page, answer, sort !== "name" && selected !== null);
      totals.update(answer.totals);
      showAge(answer.age_ms);
      showRows();
    }
  }

  function showRows() {
    const before = selected === null ? -1 : rows.indexOf(selected);
    rows = pages.names;
    const after = selected === null ? -1 : rows.indexOf(selected);
    const all = filter === "" ? (app.queues()?.totals.queues ?? 0) : 0;
    const more = pages.more ? Math.min(Math.max(1, all - rows.length), PAGES_MAX * PAGE - rows.length) : 0;
    const shift = before >= 0 && after >= 0 ? after - before : 0;
    table.setRows({ count: rows.length + Math.max(0, more), row: (place) => pages.get(rows[place] ?? "") }, shift);
    totals.node.hidden = isEmpty();
    text(nothing, nothingWords());
    text(count, countWords());
  }

  /** Whether this node has nothing of the log of its cluster, and so cannot tell of queues. */
  function isEmpty() {
    return app.cluster()?.voters === 0;
  }

  function nothingWords() {
    if (isEmpty()) return "This node has nothing of the cluster's log yet: it cannot tell of queues.";
    return filter === "" ? "There are no queues. The first message makes one." : "No queue has this in its name.";
  }

  function countWords() {
    if (isEmpty()) return "";
    const all = app.queues()?.totals.queues ?? null;
    if (pages.full) return `the first ${format.number(rows.length)}; filter to see others`;
    if (filter !== "")
      return `${format.number(rows.length)}${pages.more ? " or more" : ""} of ${format.counted(all ?? rows.length, "queue")}`;
    return format.counted(pages.more ? (all ?? rows.length) : rows.length, "queue");
  }

  /** @param {unknown} error */
  function showTrouble(error) {
    trouble.hidden = error === null;
    if (error !== null)
      text(trouble, `The queues could not be read: ${error instanceof Error ? error.message : error}`);
  }

  /** @param {number} ms */
  function showAge(ms) {
    const held = sort !== "name" && selected !== null ? " The order is kept while a queue is selected." : "";
    text(age, `As of ${ms < 1000 ? "this second" : `${format.duration(ms)} ago`}, on the node that is asked.${held}`);
  }

  function showSort() {
    table.showSort(sort, sort === "name" ? "ascending" : "descending");
  }

  function onFilter() {
    clearTimeout(filterTimer);
    filterTimer = window.setTimeout(() => {
      filter = input.value.trim();
      restart();
    }, FILTER_MS);
  }

  /** With each message of the stream: every two seconds. */
  function onTick() {
    const costly = pages.wanted(visible.from, visible.to, sort).length > PAGES_QUICK;
    if (costly && performance.now() < slowAfter) return;
    slowAfter = performance.now() + SLOW_MS;
    refresh();
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    if (event.key !== "/" || !isForPage(event)) return;
    event.preventDefault();
    input.focus();
  }

  document.addEventListener("keydown", onKey);
  const off = app.on("queues", onTick);
  const known = app.queues();
  if (known) totals.update(known.totals);
  showSort();
  refresh();

  return () => {
    off();
    clearTimeout(filterTimer);
    document.removeEventListener("keydown", onKey);
    running?.abort();
    running = null;
    again = false;
    table.destroy();
  };
}

/** @param {string | null} text @returns {Sort} */
const readSort = (text) => (text === "ready" || text === "bytes" || text === "oldest" ? text : "name");

/** @param {string} name */
export const queueHash = (name) => `#/queue?name=${encodeURIComponent(name)}`;

/** @returns {Column<Queue>[]} */
function columns() {
  /** @param {(queue: Queue) => string | null} words @param {string} why @returns {Column<Queue>["cell"]} */
  const maybe = (words, why) => (queue, cell) => show(cell, words(queue), why);
  return [
    { key: "name", title: "Name", width: "minmax(110px, 1fr)", sortable: true, cell: nameCell },
    {
      key: "ready",
      title: "Ready",
      width: "minmax(54px, 76px)",
      align: "end",
      sortable: true,
      cell: ({ ready }) => format.number(ready),
    },
    {
      key: "leased",
      title: "Leased",
      width: "minmax(50px, 76px)",
      align: "end",
      cell: ({ leased }) => format.number(leased),
    },
    {
      key: "delayed",
      title: "Delayed",
      width: "76px",
      align: "end",
      wide: true,
      cell: ({ delayed }) => format.number(delayed),
    },
    { key: "dead", title: "Dead", width: "minmax(44px, 76px)", align: "end", cell: deadCell },
    {
      key: "bytes",
      title: "Bytes",
      width: "84px",
      align: "end",
      sortable: true,
      wide: true,
      cell: ({ bytes }) => format.bytes(bytes),
    },
    {
      key: "oldest",
      title: "Oldest",
      width: "104px",
      align: "end",
      sortable: true,
      wide: true,
      cell: maybe(({ oldest_ms }) => format.duration(oldest_ms), "no message waits"),
    },
    {
      key: "in",
      title: "In",
      width: "76px",
      align: "end",
      wide: true,
      cell: maybe(({ in_rate }) => format.rate(in_rate), "not counted long enough"),
    },
    {
      key: "out",
      title: "Out",
      width: "76px",
      align: "end",
      wide: true,
      cell: maybe(({ out_rate }) => format.rate(out_rate), "not counted long enough"),
    },
    { key: "spark", title: "Ready, 5 min", width: "120px", wide: true, cell: sparkCell },
  ];
}

/** @param {Queue} queue @param {HTMLElement} cell */
function nameCell({ name }, cell) {
  const link = cell.firstElementChild;
  if (link instanceof HTMLAnchorElement && link.firstElementChild) {
    setInline(link.firstElementChild, name, 255);
    attribute(link, "href", queueHash(name));
  } else replace(cell, h("a", { href: queueHash(name), tabindex: -1 }, inline(name, 255)));
  attribute(cell, "title", name.length > 40 ? name : null);
}

/** @param {Queue} queue @param {HTMLElement} cell */
function deadCell({ dead }, cell) {
  cell.classList.toggle("queue-dead", dead > 0);
  return format.number(dead);
}

/** @type {WeakMap<HTMLElement, string>} */
const drawn = new WeakMap();

/** @param {Queue} queue @param {HTMLElement} cell */
function sparkCell({ name, spark }, cell) {
  const key = `${name} ${spark.join()}`;
  if (drawn.get(cell) === key && cell.firstChild) return;
  drawn.set(cell, key);
  const known = spark.filter((value) => value !== null);
  const words =
    known.length === 0
      ? "not known"
      : `between ${format.number(Math.min(...known))} and ${format.number(Math.max(...known))} ready`;
  replace(cell, sparkline(spark, { width: 116, height: 18 }), h("span", { class: "sr" }, words));
}
