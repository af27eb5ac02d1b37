// The timeline: what happened on all nodes, a lane for each, time to the right. While it follows the present, it moves
// with it.
//
// The picture is drawn anew when something has changed; in between, only one group of it is moved. Nothing in it takes
// the focus: the whole of it does, and its keys walk from event to event.

import { attribute, h, list, replace, svg } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { roleWord } from "../lib/marks.js";
import { inline } from "./content.js";
import { BY_WEIGHT, signFor } from "./event_kinds.js";
import { eventKey, marks, panned, placeAt, stepDowns, ticks, zoomed } from "./timeline_model.js";
import {
  BAR_TOP,
  MARGIN,
  NARROW,
  arrowPath,
  isPinned,
  makeBar,
  makeLine,
  makeName,
  makePin,
  makeSign,
  makeTick,
  sizeFor,
  tickWords,
} from "./timeline_parts.js";

/** @import { Event } from "../lib/types.js" */
/** @import { Arrow, Interval, Lane, Mark, View } from "./timeline_model.js" */
/** @import { Bar, Line, Place } from "./timeline_parts.js" */
/** @import { Sign } from "./event_kinds.js" */

const AXIS = 22;
/** Half of what a time on the axis takes. */
const TICK_HALF = 26;
/** Marks that are closer are one. */
const APART = 22;
/** How near the pointer must be. */
const NEAR = 8;
/** Sentences that are shown at once. */
const TOLD_MAX = 6;
/** How often a reader who wants no motion sees the picture move. */
const STILL_MS = 1000;
const FRAME_MS = 33;

/**
 * @typedef {object} Picture
 * @property {readonly Event[]} events  by time
 * @property {readonly Lane[]} lanes
 * @property {readonly Arrow[]} arrows
 */

/**
 * @typedef {object} TimelineOptions
 * @property {() => number} now  on the clock of the cluster
 * @property {(event: Event | null) => void} onSelect
 * @property {(view: View) => void} onView  the stretch of time that is shown is another one
 * @property {(text: string) => void} announce
 */

/** @typedef {ReturnType<typeof makeTimeline>} Timeline */

/** @param {TimelineOptions} options */
export function makeTimeline({ now, onSelect, onView, announce }) {
  const names = svg("g", { class: "tl-names" });
  const grid = svg("g", { class: "tl-grid" });
  const bars = svg("g");
  const lines = svg("g", { class: "tl-arrows" });
  const signs = svg("g");
  const cursor = svg("g", { class: "tl-cursor" }, svg("line"), svg("rect", { width: 12, rx: 3 }));
  const moving = svg("g", null, grid, bars, lines, signs, cursor);
  /** Words of bars that began before what is visible: they stay where they are while the picture moves. */
  const pins = svg("g", { class: "tl-pins" });
  const plot = svg(
    "svg",
    { class: "tl-plot", overflow: "hidden" },
    svg("rect", { class: "tl-ground", width: "100%" }),
    moving,
    pins,
  );
  const picture = svg(
    "svg",
    {
      class: "tl",
      role: "application",
      tabindex: 0,
      "aria-label": "Timeline of events, a lane for each node",
      "aria-describedby": "tl-help",
    },
    names,
    plot,
  );
  const tip = h("div", { class: "tl-tip", hidden: true });
  const help = h(
    "p",
    { id: "tl-help", class: "sr" },
    "Left and right go from event to event, up and down from node to node. Plus and minus change the stretch of time, " +
      "shift with left or right moves it, P holds it, End returns to the present. The list below has all of it in words.",
  );
  const node = h("div", { class: "tl-frame" }, picture, tip, help);

  /** @type {View} */
  let view = { end: 0, span: 5 * 60_000, follows: true };
  /** @type {Picture} */
  let shown = { events: [], lanes: [], arrows: [] };
  /** @type {Event | null} */
  let selected = null;
  /**
   * Marks of a lane, which change with the scale only.
   * @type {Map<Lane, {pixels: number, marks: Mark[], signs: Map<Event, Sign>}>}
   */
  let grouped = new Map();
  let size = sizeFor(0);
  let width = 0;
  let gutter = 0;
  let drawnEnd = 0;
  let timer = 0;
  let frame = 0;
  const still = matchMedia("(prefers-reduced-motion: reduce)");

  const plotWidth = () => Math.max(1, width - gutter);
  const pixels = () => plotWidth() / view.span;
  const end = () => (view.follows ? now() : view.end);
  const xOf = (/** @type {number} */ at) => plotWidth() - (drawnEnd - at) * pixels();
  const laneOf = (/** @type {string} */ id) => shown.lanes.findIndex((lane) => lane.node === id);
  const middleOf = (/** @type {string} */ id) => laneOf(id) * size.lane + BAR_TOP + size.bar / 2;

  function draw() {
    if (width === 0) return;
    drawnEnd = end();
    const height = shown.lanes.length * size.lane;
    const from = drawnEnd - view.span;
    const to = drawnEnd + MARGIN / pixels();
    attribute(picture, "height", height + AXIS);
    attribute(plot, "x", gutter);
    attribute(plot, "width", plotWidth());
    attribute(plot, "height", height + AXIS);
    attribute(plot.firstElementChild ?? plot, "height", height);
    attribute(moving, "transform", null);
    const max = width < NARROW ? 5 : 14;
    const named = shown.lanes.map((lane) => ({ lane, y: middleOf(lane.node), max }));
    list(names, named, ({ lane }) => lane.node, makeName);
    drawGrid(from, height);
    const visible = barsBetween(from, to);
    list(bars, visible, (bar) => bar.key, makeBar);
    list(pins, visible.filter(isPinned), (bar) => bar.key, makePin);
    list(lines, linesBetween(from, to), (line) => line.key, makeLine);
    list(signs, signsBetween(from, to), (sign) => sign.key, makeSign);
    drawCursor(height);
  }

  /** Leaves the names as much room as they need, within limits. */
  function fitNames() {
    const longest = Math.max(0, ...shown.lanes.map(({ name }) => name.length));
    const least = shown.lanes.some(({ id }) => id !== null) ? 62 : 28;
    gutter = Math.min(Math.max(least, longest * 8 + 14), width < NARROW ? Math.max(least, 52) : 130);
  }

  /** @param {number} from @param {number} height */
  function drawGrid(from, height) {
    // Words that would be cut at an edge are left out.
    const isWhole = (/** @type {number} */ x) => x >= TICK_HALF && x <= plotWidth() - TICK_HALF;
    const { step, times } = ticks(from, view.span + MARGIN / pixels(), plotWidth() + MARGIN);
    const items = times.map((at) => ({ at, x: xOf(at), height, label: isWhole(xOf(at)) ? tickWords(at, step) : "" }));
    list(grid, items, ({ at }) => String(at), makeTick);
  }

  /** @param {number} from @param {number} to @returns {Bar[]} */
  function barsBetween(from, to) {
    const visible = (/** @type {Interval} */ interval) => interval.to >= from && interval.from <= to;
    return shown.lanes.flatMap((lane, at) =>
      [...lane.roles, ...lane.absences].filter(visible).map((interval) => {
        const x = Math.max(xOf(interval.from), -2);
        const right = Math.min(xOf(interval.to), plotWidth() + MARGIN);
        return {
          key: `${lane.node} ${interval.role} ${interval.from}`,
          interval,
          x,
          y: at * size.lane + BAR_TOP,
          height: size.bar,
          width: Math.max(1, right - x),
          room: Math.min(right, plotWidth()) - Math.max(x, 0),
        };
      }),
    );
  }

  /** @param {number} from @param {number} to @returns {Line[]} */
  function linesBetween(from, to) {
    return shown.arrows
      .filter((arrow) => Math.max(arrow.at, arrow.until) >= from && Math.min(arrow.at, arrow.until) <= to)
      .map((arrow) => ({
        key: eventKey(arrow.sent),
        kind: arrow.kind,
        d: arrowPath(xOf(arrow.at), middleOf(arrow.from), xOf(arrow.until), middleOf(arrow.to), size.bar),
      }));
  }

  /** @param {number} from @param {number} to @returns {Place[]} */
  function signsBetween(from, to) {
    return shown.lanes.flatMap((lane, at) => {
      const { marks: all, signs: kinds } = marksOf(lane);
      return all
        .filter(({ events }) => (events.at(-1)?.at ?? 0) >= from && (events[0]?.at ?? 0) <= to)
        .map(({ events }) => {
          const [first] = /** @type {[Event]} */ (events);
          const sign = BY_WEIGHT.find((candidate) => events.some((event) => kinds.get(event) === candidate)) ?? "role";
          return {
            key: eventKey(first),
            x: xOf(first.at),
            y: at * size.lane + size.signs,
            sign,
            level: worst(events),
            count: events.length,
          };
        });
    });
  }

  /** @param {Lane} lane */
  function marksOf(lane) {
    const known = grouped.get(lane);
    if (known && known.pixels === pixels()) return known;
    const downs = stepDowns(lane);
    const kinds = new Map(lane.events.flatMap((event) => signOf(event, downs)));
    const scale = pixels();
    const made = { pixels: scale, marks: marks([...kinds.keys()], (at) => at * scale, APART), signs: kinds };
    grouped.set(lane, made);
    return made;
  }

  /** @param {number} height */
  function drawCursor(height) {
    const [line, box] = /** @type {[SVGLineElement, SVGRectElement]} */ ([...cursor.children]);
    const lane = selected ? laneOf(selected.node) : -1;
    attribute(cursor, "visibility", selected && lane >= 0 ? null : "hidden");
    if (!selected || lane < 0) return;
    const x = xOf(selected.at);
    for (const [name, value] of Object.entries({ x1: x, x2: x, y1: 0, y2: height })) attribute(line, name, value);
    for (const [name, value] of Object.entries({ x: x - 6, y: lane * size.lane + 3, height: size.lane - 3 }))
      attribute(box, name, value);
  }

  /** Moves with time; draws anew once it has moved too far for that. */
  function move() {
    frame = 0;
    const by = (now() - drawnEnd) * pixels();
    if (still.matches || by > MARGIN - 10 || by < 0) draw();
    else attribute(moving, "transform", `translate(${-by.toFixed(1)} 0)`);
    schedule();
  }

  function schedule() {
    clearTimeout(timer);
    cancelAnimationFrame(frame);
    if (!view.follows || width === 0) return;
    const pause = still.matches ? STILL_MS : Math.max(FRAME_MS, 0.5 / pixels());
    timer = window.setTimeout(() => {
      frame = requestAnimationFrame(move);
    }, pause);
  }

  /** @param {View} changed */
  function setView(changed) {
    view = changed;
    draw();
    schedule();
    hideTip();
    onView(view);
  }

  /** @param {Event | null} event @param {{told?: boolean, shows?: boolean}} [how] */
  function select(event, { told = true, shows = true } = {}) {
    selected = event;
    if (event && shows) bringIntoView(event);
    draw();
    if (told) onSelect(event);
  }

  /** @param {Event} event */
  function bringIntoView({ at }) {
    const last = end();
    if (at <= last && at >= last - view.span * 0.98) return;
    setView(panned({ ...view, end: at, follows: false }, view.span * 0.3, now()));
  }

  // What is under the pointer.

  /** @param {number} x @param {number} y @returns {{events: Event[], interval: Interval | null, lane: Lane | null}} */
  function under(x, y) {
    const lane = shown.lanes[Math.floor(y / size.lane)] ?? null;
    if (!lane) return { events: [], interval: null, lane };
    const at = drawnEnd - (plotWidth() - x) / pixels();
    const near = NEAR / pixels();
    const inMarks = y % size.lane > BAR_TOP + size.bar;
    const group = inMarks
      ? marksOf(lane).marks.find(
          ({ events }) => (events[0]?.at ?? 0) - near <= at && at <= (events.at(-1)?.at ?? 0) + near,
        )
      : null;
    const arrow = group ? null : shown.arrows.find((one) => distance(x, y, one) < NEAR / 2);
    const events = group?.events ?? (arrow ? [arrow.sent, ...(arrow.received ? [arrow.received] : [])] : []);
    const interval = [...lane.absences, ...lane.roles].find((one) => one.from <= at && at < one.to) ?? null;
    return { events, interval, lane };
  }

  /** @param {number} x @param {number} y @param {Arrow} arrow  how far a point is from an arrow */
  function distance(x, y, arrow) {
    const [ax, ay, bx, by] = [xOf(arrow.at), middleOf(arrow.from), xOf(arrow.until), middleOf(arrow.to)];
    const length = (bx - ax) ** 2 + (by - ay) ** 2;
    const share = Math.min(1, Math.max(0, ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / Math.max(1, length)));
    return Math.hypot(x - ax - share * (bx - ax), y - ay - share * (by - ay));
  }

  /** @param {number} x @param {number} y @param {ReturnType<typeof under>} what */
  function showTip(x, y, { events, interval, lane }) {
    if (events.length === 0 && (!interval || !lane)) return hideTip();
    const lines = events.slice(0, TOLD_MAX).map(eventLine);
    const rest = events.length - lines.length;
    replace(
      tip,
      ...lines,
      rest > 0 && h("p", { class: "muted" }, `and ${format.counted(rest, "more event")}`),
      events.length === 0 && interval && lane && intervalLines(lane, interval, now()),
    );
    tip.hidden = false;
    const left = Math.min(Math.max(0, gutter + x - tip.offsetWidth / 2), Math.max(0, width - tip.offsetWidth));
    tip.style.transform = `translate(${left}px, ${y}px)`;
  }

  function hideTip() {
    tip.hidden = true;
  }

  /** @param {PointerEvent | MouseEvent | WheelEvent} event */
  function pointOf(event) {
    const frameAt = picture.getBoundingClientRect();
    return { x: event.clientX - frameAt.left - gutter, y: event.clientY - frameAt.top };
  }

  /** @type {{x: number, view: View, moved: boolean} | null} */
  let drag = null;

  picture.addEventListener("pointerdown", (event) => {
    if (event.button === 0) drag = { x: event.clientX, view: { ...view, end: end() }, moved: false };
  });
  picture.addEventListener("pointermove", (event) => {
    if (drag) {
      const by = event.clientX - drag.x;
      if (!drag.moved && Math.abs(by) < 4) return;
      if (!drag.moved) picture.setPointerCapture(event.pointerId);
      drag.moved = true;
      return setView(panned({ ...drag.view, follows: false }, -by / pixels(), now()));
    }
    const { x, y } = pointOf(event);
    if (x < 0) return hideTip();
    const laneTop = Math.floor(y / size.lane) * size.lane;
    showTip(x, laneTop + size.lane + 2, under(x, y));
  });
  picture.addEventListener("pointerup", (event) => {
    const { x, y } = pointOf(event);
    const clicked = drag && !drag.moved ? under(x, y) : null;
    drag = null;
    if (clicked) select(clicked.events[0] ?? clicked.interval?.began ?? null, { shows: false });
  });
  picture.addEventListener("pointercancel", () => {
    drag = null;
  });
  picture.addEventListener("pointerleave", hideTip);
  picture.addEventListener("blur", hideTip);
  picture.addEventListener("wheel", onWheel, { passive: false });
  picture.addEventListener("keydown", onKey);

  /** @param {WheelEvent} event */
  function onWheel(event) {
    const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey;
    event.preventDefault();
    const by = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    if (sideways) return setView(panned(view, ((event.deltaX || event.deltaY) * by) / pixels(), now()));
    const share = Math.min(1, Math.max(0, pointOf(event).x / plotWidth()));
    zoomAt(Math.exp(event.deltaY * by * 0.0015), share);
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    /** @type {Record<string, () => void>} */
    const actions = {
      ArrowLeft: () => (event.shiftKey ? setView(panned(view, -view.span / 8, now())) : step(-1)),
      ArrowRight: () => (event.shiftKey ? setView(panned(view, view.span / 8, now())) : step(1)),
      ArrowUp: () => changeLane(-1),
      ArrowDown: () => changeLane(1),
      Home: () => stepTo(shown.events[0] ?? null),
      End: () => setView({ ...view, follows: true }),
      "+": () => zoomAt(0.5, share()),
      "=": () => zoomAt(0.5, share()),
      "-": () => zoomAt(2, share()),
      Escape: () => select(null),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  /** Where the selected event stands, to which a zoom by keys goes; without one in view it goes to the present. */
  function share() {
    const at = selected ? xOf(selected.at) / plotWidth() : 1;
    return at >= 0 && at <= 1 ? at : 1;
  }

  /**
   * Whoever looks at what has just happened goes on following it; whoever looks at something earlier stays there.
   * @param {number} factor
   * @param {number} at  share of the width
   */
  function zoomAt(factor, at) {
    const held = { ...view, end: end(), follows: view.follows && at > 0.9 };
    const next = zoomed(held, factor, at);
    setView(next.end >= now() ? { ...next, end: now(), follows: true } : next);
  }

  /** @param {1 | -1} by */
  function step(by) {
    const at = selected ? shown.events.indexOf(selected) + by : placeAt(shown.events, end()) - 1;
    stepTo(shown.events[at] ?? null);
  }

  /** To the event of the next lane that is nearest in time. @param {1 | -1} by */
  function changeLane(by) {
    if (!selected) return step(-1);
    const { at } = selected;
    const lane = shown.lanes[laneOf(selected.node) + by];
    const near = lane
      ? [placeAt(lane.events, at), placeAt(lane.events, at) - 1].map((place) => lane.events[place])
      : [];
    const [best] = near
      .filter((event) => event !== undefined)
      .sort((a, b) => Math.abs(a.at - at) - Math.abs(b.at - at));
    if (best) stepTo(best);
  }

  /** @param {Event | null} event */
  function stepTo(event) {
    if (!event) return;
    select(event);
    showTip(xOf(event.at), (laneOf(event.node) + 1) * size.lane + 2, { events: [event], interval: null, lane: null });
    announce(`${format.clock(event.at)}, ${event.name} ${event.words}`);
  }

  const resized = new ResizeObserver(() => {
    width = node.clientWidth;
    fitNames();
    draw();
    schedule();
  });
  resized.observe(node);

  return {
    node,
    /** @param {Picture} changed */
    update(changed) {
      if (changed.lanes !== shown.lanes) grouped = new Map();
      shown = changed;
      size = sizeFor(shown.lanes.length);
      fitNames();
      draw();
    },
    /** @param {Event | null} event */
    select: (event) => select(event, { told: false }),
    view: () => view,
    /** @param {number} span */
    show: (span) => setView({ ...view, span, end: end() }),
    /** @param {number} factor */
    zoom: (factor) => zoomAt(factor, share()),
    /** @param {boolean} follows */
    follow: (follows) => setView({ ...view, follows, end: now() }),
    /** The earliest moment that is shown. */
    from: () => end() - view.span,
    destroy() {
      clearTimeout(timer);
      cancelAnimationFrame(frame);
      resized.disconnect();
    },
  };
}

/**
 * Roles are bars and votes that were given are arrows; all else has a sign.
 * @param {Event} event
 * @param {Set<Event>} downs
 * @returns {[Event, Sign][]}
 */
function signOf(event, downs) {
  if (downs.has(event)) return [[event, "step_down"]];
  if (event.level !== "info" || !(event.kind === "role" || event.kind === "vote")) return [[event, signFor(event)]];
  return event.event === "vote_refused" || event.event === "vote_denied" ? [[event, "vote"]] : [];
}

/** @param {readonly Event[]} events */
function worst(events) {
  return events.some(({ level }) => level === "error")
    ? "error"
    : events.some(({ level }) => level === "warn")
      ? "warn"
      : "info";
}

/** @param {Event} event */
export function eventLine(event) {
  return h(
    "p",
    null,
    h("span", { class: "muted" }, format.clock(event.at)),
    " ",
    h("b", null, inline(event.name, 40)),
    " ",
    inline(event.words, 400),
  );
}

/** @param {Interval["role"]} role */
function wordOf(role) {
  if (role === "unknown") return "not known";
  if (role === "unreachable") return "no answer";
  return role === "removed" || role === "replaced" ? role : roleWord(role).toLowerCase();
}

/**
 * @param {Lane} lane
 * @param {Interval} interval
 * @param {number} now
 */
function intervalLines(lane, { role, term, from, to, began }, now) {
  const word = role === "pre_candidate" ? "pre-candidate" : wordOf(role);
  const length = Number.isFinite(from) ? ` for ${format.duration(Math.min(to, now) - from)}` : "";
  const since = Number.isFinite(from) ? `since ${format.clock(from)}` : "since before the first event that is kept";
  return [
    h(
      "p",
      null,
      h("b", null, inline(lane.name, 40)),
      lane.id !== null && ` ${lane.id}`,
      `: ${word}${term === null ? "" : ` of term ${format.number(term)}`}${length}`,
    ),
    h("p", { class: "muted" }, since, began && [": ", inline(began.words, 300)]),
  ];
}
