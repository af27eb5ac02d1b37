// A table of any length of which only the visible rows are in the document.
//
//     const table = makeTable({
//       label: "Log of a",
//       columns: [
//         { key: "index", title: "Index", width: "90px", align: "end", cell: (entry) => number(entry.index) },
//         { key: "what", title: "What", width: "minmax(160px, 1fr)", cell: (entry, cell) => { patch(cell, entry); } },
//         { key: "size", title: "Size", width: "70px", align: "end", wide: true, cell: (entry) => bytes(entry.size) },
//       ],
//       onSelect(place, row) {}, onOpen(place, row) {}, onVisible(from, to) {}, onScroll(pixels) {}, onSort(key) {},
//       rowClass: (entry) => (entry.committed ? "" : "open"),
//       empty: "Nothing is here yet.",
//     });
//     root.append(table.node); // give it a height: it fills what its parent leaves it
//     table.setRows({ count: 100000, row: (place) => loaded.get(place) ?? null });
//
// - Rows are asked for by their place, from 0. `row` answers null for one that is not loaded: it is drawn as a
//   skeleton, and `onVisible(from, to)` tells which places are on the screen (to is exclusive), so that they can be
//   fetched; then call `refresh()`.
// - `cell` answers a text, or a node, which replaces what was there, or nothing when it has patched the cell itself.
//   Cells are reused for other rows, so it must set all that it ever sets. Nothing in a row takes the focus: what a
//   row offers is in `onOpen` (Enter, double click), or beside the table for the row that is selected.
// - `setRows` keeps what is on the screen where it is. When rows have gone, or come, before the first, `shift` says
//   how many more (or fewer, negative) there are, and the selection and the scrolling move along.
// - Keys: arrows, PageUp and PageDown, Home and End move the selection, Enter opens, Escape lets it go.
// - `table.follow(true)` stays at the end as rows are added, until the reader scrolls away, which `onFollow(false)`
//   tells.
// - Two tables are scrolled as one by `onScroll` of each and `scrollTo` of the other: setting what is set already
//   tells nobody.
//
// A browser cannot draw an element of more than some 16 million pixels. Beyond `HEIGHT_MAX`, what is scrolled through
// is shorter than the rows are: the wheel still moves by pixels, and dragging the scroll bar moves in proportion.

import { attribute, h, replace, text } from "./dom.js";

/**
 * @template R
 * @typedef {object} Column
 * @property {string} key
 * @property {string} title
 * @property {string} width A track of a CSS grid: `90px`, `minmax(120px, 1fr)`.
 * @property {"start" | "end"} [align]
 * @property {boolean} [wide] Left out where the table is narrower than `NARROW_PX`.
 * @property {boolean} [sortable]
 * @property {(row: R, cell: HTMLElement, place: number) => string | Node | null | void} cell
 */

/**
 * @template R
 * @typedef {object} Rows
 * @property {number} count
 * @property {(place: number) => R | null} row Null: not loaded.
 */

/**
 * @template R
 * @typedef {object} TableOptions
 * @property {string} label
 * @property {Column<R>[]} columns
 * @property {number} [rowHeight]
 * @property {string | Node} [empty] Shown when there are no rows.
 * @property {(row: R, place: number) => string} [rowClass]
 * @property {(place: number | null, row: R | null) => void} [onSelect]
 * @property {(place: number, row: R) => void} [onOpen]
 * @property {(from: number, to: number) => void} [onVisible]
 * @property {(pixels: number) => void} [onScroll]
 * @property {(following: boolean) => void} [onFollow]
 * @property {(key: string) => void} [onSort]
 */

/**
 * @template R
 * @typedef {object} Table
 * @property {HTMLElement} node
 * @property {(rows: Rows<R>, shift?: number) => void} setRows
 * @property {() => void} refresh Draws the visible rows anew.
 * @property {(place: number | null, options?: {quiet?: boolean, align?: "nearest" | "center"}) => void} select Also
 *   scrolls to it; quiet: `onSelect` is not called.
 * @property {() => number | null} selected
 * @property {(place: number, align?: "start" | "center" | "nearest") => void} reveal
 * @property {(pixels: number) => void} scrollTo
 * @property {() => number} position Pixels above what is visible.
 * @property {(following: boolean) => void} follow
 * @property {(key: string, direction: "ascending" | "descending") => void} showSort
 * @property {() => void} focus
 * @property {() => void} destroy
 */

const ROW_PX = 28;
const HEAD_PX = 31;
const NARROW_PX = 620;
const HEIGHT_MAX = 8_000_000;

/** No screen is higher. A page that gives the table no height must not make it draw all of its rows. */
const VIEWPORT_MAX = 8000;

/** Rows above and below what is visible, so that a fast wheel shows no gap. */
const MARGIN_ROWS = 6;

/** So long after the last movement the scroll bar is put where it belongs, when it stands for more than it can show. */
const SETTLE_MS = 150;

let tables = 0;

/**
 * @template R
 * @param {TableOptions<R>} options
 * @returns {Table<R>}
 */
export function makeTable(options) {
  const { columns, rowHeight = ROW_PX } = options;
  const id = `vt${(tables += 1)}`;
  const head = h("div", { class: "vt-head", role: "row", "aria-rowindex": 1 });
  const body = h("div", { class: "vt-body", role: "rowgroup" });
  const scroller = h(
    "div",
    { class: "vt-scroll", role: "grid", tabindex: 0, "aria-label": options.label },
    h("div", { role: "rowgroup", class: "vt-head-group" }, head),
    body,
  );
  const nothing = h("div", { class: "vt-empty empty", hidden: true }, options.empty ?? "Nothing is here.");
  const node = h("div", { class: "vt" }, scroller, nothing);

  /** @type {Rows<R>} */
  let rows = { count: 0, row: () => null };
  /** @type {Map<number, HTMLElement>} Drawn rows by their place. */
  let drawn = new Map();
  /** @type {HTMLElement[]} Rows that wait to be used again. */
  const spare = [];
  let shown = columns;
  /** @type {number | null} */
  let selection = null;
  /** Pixels of rows above what is visible. Equal to `scroller.scrollTop` unless the rows are too high for that. */
  let above = 0;
  let scrolled = 0;
  let viewport = 0;
  let following = false;
  let frame = 0;
  let settle = 0;
  /**
   * What was to be brought into view before the table had a height.
   * @type {[number, "start" | "center" | "nearest"] | null}
   */
  let wanted = null;
  let visible = "";

  const total = () => rows.count * rowHeight;
  const room = () => Math.max(0, viewport - HEAD_PX);
  const aboveMax = () => Math.max(0, total() - room());
  const scrolledMax = () => Math.max(0, Math.min(total(), HEIGHT_MAX) - room());
  const inProportion = () => total() > HEIGHT_MAX;
  const whereScrolled = () => (inProportion() ? (above / aboveMax()) * scrolledMax() : above);

  /** @param {number} pixels */
  function moveTo(pixels) {
    const target = Math.min(Math.max(0, pixels), aboveMax());
    const moved = target !== above;
    above = target;
    scrolled = Math.round(whereScrolled());
    if (Math.abs(scroller.scrollTop - scrolled) >= 1) scroller.scrollTop = scrolled;
    scrolled = scroller.scrollTop;
    draw();
    if (moved) options.onScroll?.(above);
  }

  function onScrolled() {
    const to = scroller.scrollTop;
    const by = to - scrolled;
    if (by === 0) return;
    scrolled = to;
    if (!inProportion()) above = to;
    else if (to <= 0 || to >= scrolledMax() || Math.abs(by) > viewport) above = (to / scrolledMax()) * aboveMax();
    else above = Math.min(Math.max(0, above + by), aboveMax());
    if (following && by < 0 && above < aboveMax() - rowHeight) setFollowing(false, true);
    schedule();
    options.onScroll?.(above);
    if (!inProportion()) return;
    clearTimeout(settle);
    settle = setTimeout(() => moveTo(above), SETTLE_MS);
  }

  function schedule() {
    if (!frame) frame = requestAnimationFrame(draw);
  }

  function draw() {
    cancelAnimationFrame(frame);
    frame = 0;
    const first = Math.floor(above / rowHeight);
    const from = Math.max(0, first - MARGIN_ROWS);
    const to = Math.min(rows.count, first + Math.ceil(room() / rowHeight) + 1 + MARGIN_ROWS);
    const next = new Map();
    for (const [place, row] of drawn) {
      if (place >= from && place < to) next.set(place, row);
      else retire(row);
    }
    for (let place = from; place < to; place += 1) {
      const row = next.get(place) ?? spare.pop() ?? makeRow();
      next.set(place, row);
      fill(row, place);
      row.style.transform = `translateY(${place * rowHeight - above + scrolled}px)`;
    }
    drawn = next;
    attribute(
      scroller,
      "aria-activedescendant",
      selection !== null && drawn.has(selection) ? `${id}-${selection}` : null,
    );
    const seen = `${from}-${to}`;
    if (seen !== visible && to > from) options.onVisible?.(from, to);
    visible = seen;
  }

  /** @param {HTMLElement} row */
  function retire(row) {
    row.hidden = true;
    row.removeAttribute("id");
    spare.push(row);
  }

  function makeRow() {
    const cells = shown.map((column, place) =>
      h("div", { role: "gridcell", class: column.align === "end" ? "end" : "", "aria-colindex": place + 1 }),
    );
    const row = h("div", { class: "vt-row", role: "row", style: { height: `${rowHeight}px` } }, cells);
    body.append(row);
    return row;
  }

  /**
   * @param {HTMLElement} row
   * @param {number} place
   */
  function fill(row, place) {
    const value = rows.row(place);
    row.hidden = false;
    row.id = `${id}-${place}`;
    row.dataset["place"] = String(place);
    attribute(row, "aria-rowindex", place + 2);
    attribute(row, "aria-selected", String(place === selection));
    attribute(row, "class", `vt-row ${value === null ? "loading" : (options.rowClass?.(value, place) ?? "")}`.trim());
    attribute(row, "aria-busy", value === null);
    shown.forEach((column, index) => {
      const cell = /** @type {HTMLElement} */ (row.children[index]);
      const content = value === null ? "" : column.cell(value, cell, place);
      if (content instanceof Node) replace(cell, content);
      else if (content !== undefined) text(cell, content ?? "–");
    });
  }

  /**
   * @param {number | null} place
   * @param {{quiet?: boolean, align?: "nearest" | "center"}} [how]
   */
  function select(place, { quiet = false, align = "nearest" } = {}) {
    selection = place === null || rows.count === 0 ? null : Math.min(Math.max(0, place), rows.count - 1);
    if (selection === null) draw();
    else reveal(selection, align);
    if (!quiet) options.onSelect?.(selection, selection === null ? null : rows.row(selection));
  }

  /**
   * @param {number} place
   * @param {"start" | "center" | "nearest"} [align]
   */
  function reveal(place, align = "nearest") {
    wanted = viewport === 0 ? [place, align] : null;
    const top = place * rowHeight;
    if (align === "start") moveTo(top);
    else if (align === "center") moveTo(top - (room() - rowHeight) / 2);
    else if (top < above) moveTo(top);
    else if (top + rowHeight > above + room()) moveTo(top + rowHeight - room());
    else draw();
  }

  /**
   * @param {boolean} follows
   * @param {boolean} [told]
   */
  function setFollowing(follows, told = false) {
    following = follows;
    if (follows) moveTo(aboveMax());
    if (told) options.onFollow?.(follows);
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(room() / rowHeight) - 1);
    const at = selection ?? Math.ceil(above / rowHeight) - 1;
    /** @type {Record<string, () => void>} */
    const keys = {
      ArrowDown: () => select(at + 1),
      ArrowUp: () => select(selection === null ? at + 1 : at - 1),
      PageDown: () => select(at + page),
      PageUp: () => select(at - page),
      Home: () => select(0),
      End: () => select(rows.count - 1),
      Escape: () => select(null),
      Enter: () => open(selection),
    };
    const action = keys[event.key];
    if (!action || (event.key === "Escape" && selection === null)) return;
    event.preventDefault();
    if (following && event.key !== "End" && event.key !== "Enter") setFollowing(false, true);
    action();
  }

  /** @param {number | null} place */
  function open(place) {
    const row = place === null ? null : rows.row(place);
    if (place !== null && row !== null) options.onOpen?.(place, row);
  }

  /** @param {globalThis.Event} event */
  function placeOf(event) {
    const row = event.target instanceof Element ? event.target.closest(".vt-row") : null;
    return row instanceof HTMLElement ? Number(row.dataset["place"]) : null;
  }

  /** @type {Map<string, HTMLElement>} */
  const heads = new Map();
  /** @type {{key: string, direction: string} | null} */
  let sorted = null;

  /** Chooses the columns that there is room for. */
  function arrange() {
    const narrow = node.clientWidth < NARROW_PX;
    shown = narrow ? columns.filter((column) => !column.wide) : columns;
    scroller.style.setProperty("--columns", shown.map((column) => column.width).join(" "));
    attribute(scroller, "aria-colcount", shown.length);
    replace(head, ...shown.map(makeHead));
    for (const row of [...drawn.values(), ...spare]) row.remove();
    drawn.clear();
    spare.length = 0;
  }

  /** @param {Column<R>} column */
  function makeHead(column) {
    const known = heads.get(column.key);
    if (known) return known;
    const title = column.sortable
      ? h("button", { type: "button", onclick: () => options.onSort?.(column.key) }, column.title)
      : column.title;
    const order = sorted?.key === column.key ? sorted.direction : null;
    const cell = h(
      "div",
      { role: "columnheader", class: column.align === "end" ? "end" : "", "aria-sort": order },
      title,
    );
    heads.set(column.key, cell);
    return cell;
  }

  let width = -1;
  const resized = new ResizeObserver(() => {
    viewport = Math.min(scroller.clientHeight, VIEWPORT_MAX);
    if (node.clientWidth < NARROW_PX !== (width >= 0 && width < NARROW_PX) || width < 0) arrange();
    width = node.clientWidth;
    if (wanted && viewport > 0) reveal(...wanted);
    else moveTo(following ? aboveMax() : above);
  });
  resized.observe(node);
  scroller.addEventListener("scroll", onScrolled, { passive: true });
  scroller.addEventListener("keydown", onKey);
  body.addEventListener("click", (event) => {
    const place = placeOf(event);
    if (place !== null) select(place);
  });
  body.addEventListener("dblclick", (event) => open(placeOf(event)));

  return {
    node,
    setRows(changed, shift = 0) {
      rows = changed;
      if (selection !== null)
        selection = selection + shift < 0 || selection + shift >= rows.count ? null : selection + shift;
      body.style.height = `${Math.min(total(), HEIGHT_MAX)}px`;
      attribute(scroller, "aria-rowcount", rows.count + 1);
      nothing.hidden = rows.count > 0;
      if (shift !== 0) for (const row of drawn.values()) retire(row);
      if (shift !== 0) drawn.clear();
      visible = "";
      moveTo(following ? aboveMax() : above + shift * rowHeight);
    },
    refresh: draw,
    select,
    selected: () => selection,
    reveal,
    scrollTo: moveTo,
    position: () => above,
    follow: (follows) => setFollowing(follows),
    showSort(key, direction) {
      sorted = { key, direction };
      heads.forEach((cell, name) => attribute(cell, "aria-sort", name === key ? direction : null));
    },
    focus: () => scroller.focus({ preventScroll: true }),
    destroy() {
      cancelAnimationFrame(frame);
      clearTimeout(settle);
      resized.disconnect();
    },
  };
}
