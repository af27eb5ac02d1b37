// Searches the log of one node on that node: back from its end, some thousand entries at a time, and forward as entries
// come.

/** @import { LogMatches } from "../lib/types.js" */
import { Matches } from "./log_model.js";

/** Matches that are fetched at a time. */
const LIMIT = 200;
/** The search rests once it has found so many more ... */
const ENOUGH = 100;
/** ... or has looked at so many stretches of the log. */
const CALLS_MAX = 5;

/** @typedef {{kind: string, queue: string, text: string}} Filter  empty: anything */

/** @param {Filter} filter */
export const isEmpty = ({ kind, queue, text }) => kind === "" && queue === "" && text === "";

export class LogSearch {
  matches = new Matches();
  /** Why the search stopped, in words; null while all is well. @type {string | null} */
  trouble = null;

  #node;
  #filter;
  #get;
  #onChange;
  #controller = new AbortController();
  #busy = false;

  /**
   * @param {string} node
   * @param {Filter} filter
   * @param {(path: string, signal: AbortSignal) => Promise<any>} get
   * @param {() => void} onChange
   */
  constructor(node, filter, get, onChange) {
    this.#node = node;
    this.#filter = filter;
    this.#get = get;
    this.#onChange = onChange;
  }

  get busy() {
    return this.#busy;
  }

  /**
   * Looks further back; at first from `last`, the end of the log.
   * @param {number} last
   */
  back(last) {
    return this.#run(async () => {
      const enough = this.matches.entries.length + ENOUGH;
      for (let call = 0; call < CALLS_MAX && this.matches.more && !this.matches.full; call++) {
        const start = this.matches.to === 0 ? last : this.matches.from - 1;
        this.matches.backward(start, await this.#ask("backward", start));
        this.#onChange();
        if (this.matches.entries.length >= enough) return;
      }
    });
  }

  /**
   * Looks at what has come since.
   * @param {number} last
   */
  forward(last) {
    if (this.matches.to === 0 || last <= this.matches.to) return;
    return this.#run(async () => {
      const start = this.matches.to + 1;
      this.matches.forward(start, await this.#ask("forward", start));
    });
  }

  stop() {
    this.#controller.abort();
  }

  /** @param {() => Promise<void>} work */
  async #run(work) {
    if (this.#busy || this.#controller.signal.aborted) return;
    this.#busy = true;
    this.trouble = null;
    this.#onChange();
    try {
      await work();
    } catch (error) {
      if (this.#controller.signal.aborted) return;
      this.trouble = error instanceof Error ? error.message : String(error);
    } finally {
      this.#busy = false;
      if (!this.#controller.signal.aborted) this.#onChange();
    }
  }

  /**
   * @param {"forward" | "backward"} direction
   * @param {number} from
   * @returns {Promise<LogMatches>}
   */
  #ask(direction, from) {
    const query = new URLSearchParams({ node: this.#node, from: String(from), direction, limit: String(LIMIT) });
    for (const [name, value] of Object.entries(this.#filter)) if (value !== "") query.set(name, value);
    return this.#get(`api/log/search?${query}`, this.#controller.signal);
  }
}
