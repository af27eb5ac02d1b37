// Queues of which some pages are loaded, in the order in which a node gives them. Pure: no document, no network.

/** @import { Queue } from "../lib/types.js" */

/** Queues of one page. */
export const PAGE = 200;
/** Pages that are kept. Whoever looks for something further down should filter. */
export const PAGES_MAX = 50;

/** @typedef {"name" | "ready" | "bytes" | "oldest"} Sort */

export class QueuePages {
  /** @type {string[][]} */
  #pages = [];
  /** @type {Map<string, Queue>} */
  #queues = new Map();
  /** @type {string[]} */
  #names = [];
  /** True when there are queues after the last one that is loaded. */
  more = true;

  /** The names that are loaded, in order. */
  get names() {
    return this.#names;
  }

  /** True when as many are loaded as are kept, and there are more. */
  get full() {
    return this.more && this.#pages.length >= PAGES_MAX;
  }

  /** @param {string} name */
  get(name) {
    return this.#queues.get(name) ?? null;
  }

  /**
   * The name after which a page begins; empty: from the first one.
   * @param {number} page
   */
  after(page) {
    return this.#pages[page - 1]?.at(-1) ?? "";
  }

  /**
   * The pages to be fetched so that the rows `from` to `to` (exclusive) are shown as they are. Names stay in their
   * order, so each page is fetched by itself; by any other order what has grown moves to another page, so all of them
   * are, from the first one on.
   * @param {number} from
   * @param {number} to
   * @param {Sort} sort
   */
  wanted(from, to, sort) {
    const last = Math.min(Math.floor(Math.max(0, to - 1) / PAGE), PAGES_MAX - 1);
    // Where a page begins is known from the page before it.
    const first = sort === "name" ? Math.min(Math.floor(from / PAGE), this.#pages.length, last) : 0;
    return Array.from({ length: last - first + 1 }, (_, at) => first + at).filter(
      (page) => page < this.#pages.length || this.more,
    );
  }

  /**
   * @param {number} page
   * @param {{queues: Queue[], more: boolean}} answer
   * @param {boolean} [held] keeps the order of what is loaded, whatever has changed: somebody is reading
   */
  put(page, answer, held = false) {
    for (const queue of answer.queues) this.#queues.set(queue.name, queue);
    const loaded = this.#pages[page];
    if (held && loaded) return;
    const names = answer.queues.map(({ name }) => name);
    const here = new Set(names);
    this.#pages = this.#pages.map((other, at) => (at === page ? other : other.filter((name) => !here.has(name))));
    this.#pages[page] = names;
    if (!answer.more) {
      this.#pages.length = page + 1;
      this.more = false;
    } else if (page === this.#pages.length - 1) this.more = true;
    this.#names = this.#pages.flat();
    this.#forget();
  }

  /** What is on no page any more. */
  #forget() {
    if (this.#queues.size <= this.#names.length) return;
    const kept = new Set(this.#names);
    for (const name of this.#queues.keys()) if (!kept.has(name)) this.#queues.delete(name);
  }
}

/**
 * A number of seconds as people write it, `30`, `1.5`, in milliseconds; null: it is none, or out of bounds.
 * @param {string} text
 * @param {number} minMs
 * @param {number} maxMs
 */
export function secondsToMs(text, minMs, maxMs) {
  if (!/^\d+([.,]\d{1,3})?$/.test(text.trim())) return null;
  const ms = Math.round(Number(text.trim().replace(",", ".")) * 1000);
  return ms >= minMs && ms <= maxMs ? ms : null;
}

/**
 * A whole number within bounds; null: it is none.
 * @param {string} text
 * @param {number} min
 * @param {number} max
 */
export function wholeNumber(text, min, max) {
  if (!/^\d{1,12}$/.test(text.trim())) return null;
  const value = Number(text);
  return value >= min && value <= max ? value : null;
}
