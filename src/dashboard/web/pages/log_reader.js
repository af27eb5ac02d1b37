// Fetches the entries of one node that somebody looks at: few requests at a time, and none for what was passed by.

/** @import { LogPart } from "../lib/types.js" */
/** @import { Reach } from "./log_model.js" */
import { EntryPages, PAGE } from "./log_model.js";

/** Requests to one node at a time. */
const IN_FLIGHT_MAX = 2;
/** How long a page is left alone after it could not be fetched. */
const RETRY_MS = 2000;
/**
 * How long the view must rest before anything is asked for. A drag along the scroll bar passes by hundreds of pages.
 */
const REST_MS = 60;

/** @typedef {{from: number, limit: number, controller: AbortController}} Flight */

export class LogReader {
  pages = new EntryPages();
  /** Why the last request failed, in words; null while all is well. @type {string | null} */
  trouble = null;

  #node;
  #get;
  #onChange;
  #first = 1;
  #last = 0;
  /** @type {Flight[]} */
  #flights = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** Nothing is asked for before this moment of `performance.now()`. */
  #notBefore = 0;
  #away = false;
  #stopped = false;

  /**
   * @param {string} node
   * @param {(path: string, signal: AbortSignal) => Promise<any>} get
   * @param {() => void} onChange  entries have come, or the trouble has changed
   */
  constructor(node, get, onChange) {
    this.#node = node;
    this.#get = get;
    this.#onChange = onChange;
  }

  get node() {
    return this.#node;
  }

  /**
   * Somebody looks at these indexes.
   * @param {number} first
   * @param {number} last
   */
  look(first, last) {
    if (first === this.#first && last === this.#last) return;
    const moved = last < this.#first || first > this.#last;
    this.#first = first;
    this.#last = last;
    for (const flight of [...this.#flights]) {
      if (flight.from > last + PAGE || flight.from + flight.limit < first - PAGE) flight.controller.abort();
    }
    this.#schedule(moved ? REST_MS : 0);
  }

  /**
   * The node's log has moved on.
   * @param {Reach} reach
   */
  moved(reach) {
    this.pages.moved(reach);
    this.#schedule(0);
  }

  /** Whether the node does not answer. Nothing is asked of it then: asking would only make it wait for its end. */
  get away() {
    return this.#away;
  }

  set away(away) {
    if (this.#away === away) return;
    this.#away = away;
    this.trouble = null;
    if (!away) this.#schedule(0);
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    for (const flight of this.#flights) flight.controller.abort();
  }

  /** @param {number} after */
  #schedule(after) {
    if (this.#stopped) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#fetch(), Math.max(after, this.#notBefore - performance.now()));
  }

  #fetch() {
    if (this.#away) return;
    const wanted = this.pages.missing(this.#first, this.#last);
    for (const request of wanted) {
      if (this.#flights.length >= IN_FLIGHT_MAX) return;
      const under = this.#flights.some(
        (flight) => Math.floor((flight.from - 1) / PAGE) === Math.floor((request.from - 1) / PAGE),
      );
      if (!under) this.#fly(request);
    }
  }

  /** @param {{from: number, limit: number}} request */
  async #fly({ from, limit }) {
    const flight = { from, limit, controller: new AbortController() };
    this.#flights.push(flight);
    try {
      const path = `api/log?node=${encodeURIComponent(this.#node)}&from=${from}&limit=${limit}`;
      /** @type {LogPart} */
      const part = await this.#get(path, flight.controller.signal);
      if (this.#stopped) return;
      this.pages.put(from, part);
      this.trouble = null;
      // An answer that brings nothing would be asked for again at once, and again.
      if (part.entries.length === 0) this.#notBefore = performance.now() + RETRY_MS;
    } catch (error) {
      if (this.#stopped || this.#away || flight.controller.signal.aborted) return;
      this.#failed(error);
    } finally {
      this.#flights.splice(this.#flights.indexOf(flight), 1);
      if (!this.#stopped) {
        if (this.pages.missing(this.#first, this.#last).length > 0) this.#schedule(0);
        this.#onChange();
      }
    }
  }

  /** @param {any} error */
  #failed(error) {
    const first = error?.reason === "COMPACTED" ? error.detail?.first : undefined;
    if (typeof first === "number" && first > this.pages.reach.first) {
      this.pages.moved({ ...this.pages.reach, first });
      return;
    }
    this.trouble = error instanceof Error ? error.message : String(error);
    this.#notBefore = performance.now() + RETRY_MS;
  }
}
