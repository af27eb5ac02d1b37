// What the log page knows of entries: pages of a node's log kept within limits, and the comparison of two logs.
// Pure: no document, no network, no clock.

/** @import { Entry } from "../lib/types.js" */
/**
 * What a log covers, and how far it has come.
 * @typedef {{first: number, last: number, commit: number, applied: number}} Reach
 */

/** Entries of one page. A page covers the indexes `n * 200 + 1` to `(n + 1) * 200`. */
export const PAGE = 200;
/** Entries kept in memory of one node. */
export const ENTRIES_MAX = 20_000;
/** Bytes that the kept entries of one node carry together. The page looked at is kept, whatever its size. */
export const BYTES_MAX = 64 * 1024 * 1024;
/** Differences of two logs that are remembered one by one. */
export const DIFFERENCES_MAX = 1000;
/** Entries that are not committed are read again after so many moves: a leader may have put others in their place. */
const UNSETTLED_MOVES = 4;
/** Separate stretches of two logs that are remembered as equal. */
export const STRETCHES_MAX = 1000;

/**
 * @typedef {object} Page
 * @property {Map<number, Entry>} entries
 * @property {Set<number>} answered  indexes that the node has answered; one without an entry is a hole
 * @property {Map<number, number>} open  indexes that were not committed when they were read, and after which move that
 *   was
 * @property {number} bytes
 */

/** The entries of one node's log that are in memory. The page used longest ago goes first. */
export class EntryPages {
  /** @type {Map<number, Page>} in the order of their use */
  #pages = new Map();
  /** @type {Reach} */
  #reach = { first: 1, last: 0, commit: 0, applied: 0 };
  #bytes = 0;
  #moves = 0;
  #shorter = 0;

  get reach() {
    return this.#reach;
  }

  /** How many entries are in memory. */
  get size() {
    let size = 0;
    for (const page of this.#pages.values()) size += page.entries.size;
    return size;
  }

  /** The last entry that was read, of those at the end of the log; 0: none was. */
  get readTo() {
    const end = pageOf(this.#reach.last);
    for (let index = this.#reach.last; pageOf(index) >= end - 1 && index > 0; index--) {
      if (this.#pages.get(pageOf(index))?.answered.has(index)) return index;
    }
    return 0;
  }

  /**
   * The log has moved on, as the cluster's condition tells it: entries may have come, or gone behind a snapshot. What
   * is told may be older than what was read meanwhile; so a log is taken for shorter, as a follower's is whose entries
   * another leader replaces, only when that is told twice.
   * @param {Reach} told
   */
  moved(told) {
    this.#moves += 1;
    this.#shorter = told.last < this.#reach.last ? this.#shorter + 1 : 0;
    const last = this.#shorter >= 2 ? told.last : Math.max(told.last, this.#reach.last);
    this.#reached({ ...told, last });
  }

  /** @param {Reach} reach */
  #reached(reach) {
    const before = this.#reach;
    this.#reach = {
      first: Math.max(reach.first, before.first),
      last: reach.last,
      commit: Math.max(reach.commit, before.commit),
      applied: Math.max(reach.applied, before.applied),
    };
    for (const number of this.#pages.keys()) if ((number + 1) * PAGE < reach.first) this.#drop(number);
    if (reach.last < before.last) for (const page of this.#pages.values()) this.#cut(page, reach.last);
  }

  /**
   * An answer to a request for the entries from `from` on.
   * @param {number} from
   * @param {Reach & {entries: Entry[]}} answer
   */
  put(from, answer) {
    this.#shorter = 0;
    this.#reached(answer);
    const last = answer.entries.at(-1)?.index ?? 0;
    const byIndex = new Map(answer.entries.map((entry) => [entry.index, entry]));
    for (let index = from; index <= last; index++) this.#set(index, byIndex.get(index), answer.commit);
    if (last >= from) this.#evict(pageOf(from), pageOf(last));
  }

  /**
   * The entry, `null` where the node answered without one, `undefined` where nobody has asked.
   * @param {number} index
   * @returns {Entry | null | undefined}
   */
  get(index) {
    const page = this.#pages.get(pageOf(index));
    if (!page?.answered.has(index)) return undefined;
    return page.entries.get(index) ?? (index < this.#reach.first ? undefined : null);
  }

  /**
   * What to ask for so that `first` to `last` can be shown; asking for it again later brings what came meanwhile. One
   * request for each page, the page in the middle first.
   * @param {number} first
   * @param {number} last
   * @returns {{from: number, limit: number}[]}
   */
  missing(first, last) {
    const from = Math.max(first, this.#reach.first);
    const to = Math.min(last, this.#reach.last);
    if (from > to) return [];
    const middle = pageOf(Math.floor((from + to) / 2));
    const requests = [];
    for (let number = pageOf(from); number <= pageOf(to); number++) {
      const request = this.#request(number, from, to);
      if (request) requests.push({ number, request });
    }
    requests.sort((a, b) => Math.abs(a.number - middle) - Math.abs(b.number - middle));
    return requests.map(({ request }) => request);
  }

  /**
   * A page is asked for as a whole. Where its entries are large, only a part of it is answered: then the rest is asked
   * for from what is visible on.
   * @param {number} number
   * @param {number} first
   * @param {number} last
   */
  #request(number, first, last) {
    const begin = Math.max(number * PAGE + 1, this.#reach.first);
    const end = (number + 1) * PAGE;
    const page = this.#pages.get(number);
    if (!page) return { from: begin, limit: end - begin + 1 };
    this.#pages.delete(number);
    this.#pages.set(number, page);
    let from = Math.max(begin, first);
    while (from <= Math.min(end, last) && !this.#isWanting(page, from)) from += 1;
    if (from > Math.min(end, last)) return null;
    let to = from;
    while (to < end && (!page.answered.has(to + 1) || page.open.has(to + 1))) to += 1;
    return { from, limit: to - from + 1 };
  }

  /**
   * Whether an index was never read, or may be another entry by now.
   * @param {Page} page
   * @param {number} index
   */
  #isWanting(page, index) {
    if (!page.answered.has(index)) return true;
    const readAt = page.open.get(index);
    return readAt !== undefined && (this.#reach.commit >= index || this.#moves - readAt >= UNSETTLED_MOVES);
  }

  /**
   * @param {number} index
   * @param {Entry | undefined} entry
   * @param {number} commit
   */
  #set(index, entry, commit) {
    const number = pageOf(index);
    const page = this.#pages.get(number) ?? { entries: new Map(), answered: new Set(), open: new Map(), bytes: 0 };
    this.#pages.set(number, page);
    this.#unset(page, index);
    page.answered.add(index);
    if (index > commit) page.open.set(index, this.#moves);
    if (!entry) return;
    page.entries.set(index, entry);
    page.bytes += entry.size;
    this.#bytes += entry.size;
  }

  /**
   * @param {Page} page
   * @param {number} index
   */
  #unset(page, index) {
    const size = page.entries.get(index)?.size ?? 0;
    page.bytes -= size;
    this.#bytes -= size;
    page.entries.delete(index);
    page.answered.delete(index);
    page.open.delete(index);
  }

  /**
   * @param {Page} page
   * @param {number} last
   */
  #cut(page, last) {
    for (const index of page.answered) if (index > last) this.#unset(page, index);
  }

  /**
   * @param {number} first the pages from here ...
   * @param {number} last ... to here stay
   */
  #evict(first, last) {
    for (const number of this.#pages.keys()) {
      if (this.#pages.size * PAGE <= ENTRIES_MAX && this.#bytes <= BYTES_MAX) return;
      if (number < first || number > last) this.#drop(number);
    }
  }

  /** @param {number} number */
  #drop(number) {
    this.#bytes -= this.#pages.get(number)?.bytes ?? 0;
    this.#pages.delete(number);
  }
}

/** @param {number} index */
function pageOf(index) {
  return Math.floor((Math.max(index, 1) - 1) / PAGE);
}

/**
 * How one index looks in two logs.
 * - `equal`: both have the entry, with the same term and the same digest
 * - `term`: both have an entry, of different terms
 * - `content`: the same term with different content, which Raft rules out: one of the two is corrupt
 * - `missing_*`: that log goes further, and lacks this entry
 * - `behind_*`: that log ends before it: not replicated yet
 * - `ended_*`: so it does, and its node is no member any more: it will not be replicated
 * - `compacted_*`: that log begins after it: it is in the snapshot
 * - `unknown`: not read yet
 * @typedef {"equal" | "term" | "content" | "missing_left" | "missing_right" | "behind_left" | "behind_right"
 *   | "ended_left" | "ended_right" | "compacted_left" | "compacted_right" | "unknown"} Likeness
 */

/**
 * @param {number} index
 * @param {EntryPages} left
 * @param {EntryPages} right
 * @returns {Likeness}
 */
export function likeness(index, left, right) {
  if (index > left.reach.last) return "behind_left";
  if (index > right.reach.last) return "behind_right";
  if (index < left.reach.first) return "compacted_left";
  if (index < right.reach.first) return "compacted_right";
  return entriesLikeness(left.get(index), right.get(index));
}

/**
 * Of two logs that both reach over the index.
 * @param {Entry | null | undefined} left
 * @param {Entry | null | undefined} right
 * @returns {Likeness}
 */
export function entriesLikeness(left, right) {
  if (left === undefined || right === undefined) return "unknown";
  if (left === null) return "missing_left";
  if (right === null) return "missing_right";
  if (left.term !== right.term) return "term";
  return left.digest === right.digest && left.kind === right.kind ? "equal" : "content";
}

/**
 * Whether an index was compared, and came out different.
 * @param {Likeness} likeness
 */
export function isDifference(likeness) {
  return likeness === "term" || likeness === "content" || likeness.startsWith("missing");
}

/** What was compared so far: stretches that are equal, and single indexes that differ. */
export class Compared {
  /** @type {[number, number][]} sorted, apart from each other */
  #equal = [];
  /** @type {Map<number, Likeness>} */
  #different = new Map();

  /**
   * @param {number} index
   * @param {Likeness} likeness
   */
  record(index, likeness) {
    if (likeness === "equal") {
      this.#different.delete(index);
      this.recordEqual(index, index);
    } else if (isDifference(likeness)) {
      this.#carve(index);
      if (this.#different.size < DIFFERENCES_MAX) this.#different.set(index, likeness);
    }
  }

  /**
   * @param {number} from
   * @param {number} to
   */
  recordEqual(from, to) {
    if (from > to) return;
    const before = this.#equal.findLast(([begin]) => begin <= from);
    if (before && to <= before[1]) return;
    /** @type {[number, number][]} */
    const kept = [];
    let [begin, end] = [from, to];
    for (const stretch of this.#equal) {
      if (stretch[1] < begin - 1 || stretch[0] > end + 1) kept.push(stretch);
      else [begin, end] = [Math.min(begin, stretch[0]), Math.max(end, stretch[1])];
    }
    kept.push([begin, end]);
    kept.sort((a, b) => a[0] - b[0]);
    this.#equal = kept.length > STRETCHES_MAX ? withoutShortest(kept) : kept;
  }

  /** Entries that were compared and are equal. */
  get equalCount() {
    return this.#equal.reduce((sum, [begin, end]) => sum + end - begin + 1, 0);
  }

  /** @returns {readonly [number, number][]} */
  get equal() {
    return this.#equal;
  }

  /** The indexes that differ, lowest first. */
  get different() {
    return [...this.#different.keys()].sort((a, b) => a - b);
  }

  /** @param {number} index */
  #carve(index) {
    const at = this.#equal.findIndex(([begin, end]) => begin <= index && index <= end);
    const stretch = this.#equal[at];
    if (!stretch) return;
    const [begin, end] = stretch;
    /** @type {[number, number][]} */
    const rest = [];
    if (begin < index) rest.push([begin, index - 1]);
    if (index < end) rest.push([index + 1, end]);
    this.#equal.splice(at, 1, ...rest);
  }
}

/**
 * The shortest stretch costs least to compare again.
 * @param {[number, number][]} stretches
 */
function withoutShortest(stretches) {
  const lengths = stretches.map(([begin, end]) => end - begin);
  return stretches.toSpliced(lengths.indexOf(Math.min(...lengths)), 1);
}

/**
 * What was compared, in a sentence.
 * @param {Compared} compared
 * @param {number} common how many indexes both logs have
 */
export function comparedWords(compared, common) {
  const { equal, different } = compared;
  if (equal.length === 0 && different.length === 0) {
    return common > 0 ? "nothing compared yet" : "the two logs have no index in common";
  }
  const parts = [];
  if (equal.length > 0) {
    const [first, ...others] = equal.map(([begin, end]) =>
      begin === end ? `at ${n(begin)}` : `from ${n(begin)} to ${n(end)}`,
    );
    const more =
      others.length > 1
        ? ` and in ${n(others.length)} more stretches`
        : others.map((words) => ` and ${words}`).join("");
    parts.push(`identical ${first}${more}`);
  }
  const [lowest, ...higher] = different;
  if (lowest !== undefined)
    parts.push(`differs at ${n(lowest)}${higher.length > 0 ? ` and at ${n(higher.length)} more` : ""}`);
  const looked = compared.equalCount + different.length;
  const of = looked < common ? ` (compared ${n(looked)} of ${n(common)} that both have)` : "";
  return parts.join("; ") + of;
}

/** @param {number} number */
function n(number) {
  return number.toLocaleString("en-US");
}

/**
 * Walks through two logs side by side and compares them until the first difference.
 *
 * `read` gets the entries of one side from an index on, at most `limit`; it may get fewer.
 * @param {object} walk
 * @param {number} walk.from
 * @param {number} walk.to
 * @param {number} walk.limit
 * @param {(side: "left" | "right", from: number, limit: number) => Promise<Entry[]>} walk.read
 * @param {Compared} walk.compared what is found out goes here
 * @param {(done: number) => void} walk.onProgress called with the last index compared
 * @returns {Promise<number | null>} the first index that differs
 */
export async function firstDifference({ from, to, limit, read, compared, onProgress }) {
  let at = from;
  while (at <= to) {
    const count = Math.min(limit, to - at + 1);
    const [left, right] = await Promise.all([read("left", at, count), read("right", at, count)]);
    // Both answers are complete up to here; a side that answers less was stopped by its limit of bytes.
    const end = Math.min(left.at(-1)?.index ?? 0, right.at(-1)?.index ?? 0);
    if (end < at) throw new Error(`no entry was answered from ${n(at)} on`);
    const different = compareStretch(at, end, left, right);
    compared.recordEqual(at, (different?.index ?? end + 1) - 1);
    if (different) {
      compared.record(different.index, different.likeness);
      return different.index;
    }
    onProgress(end);
    at = end + 1;
  }
  return null;
}

/**
 * @param {number} from
 * @param {number} to
 * @param {Entry[]} left
 * @param {Entry[]} right
 */
function compareStretch(from, to, left, right) {
  const byIndex = (/** @type {Entry[]} */ entries) => new Map(entries.map((entry) => [entry.index, entry]));
  const [lefts, rights] = [byIndex(left), byIndex(right)];
  for (let index = from; index <= to; index++) {
    const likeness = entriesLikeness(lefts.get(index) ?? null, rights.get(index) ?? null);
    if (likeness !== "equal") return { index, likeness };
  }
  return null;
}

/** Matches of a search that are kept. */
export const MATCHES_MAX = 5000;

/**
 * @typedef {object} SearchAnswer
 * @property {Entry[]} entries
 * @property {number | null} next where to go on; null: the end of the log was reached
 * @property {number} first
 * @property {number} last
 */

/** What a search has found: it goes back from the end of the log, and forward as entries come. */
export class Matches {
  /** @type {Entry[]} by index */
  entries = [];
  /** The lowest and the highest index that was looked at. */
  from = 0;
  to = 0;
  /** False once the beginning of the log was reached. */
  more = true;

  get full() {
    return this.entries.length >= MATCHES_MAX;
  }

  /** How many entries were looked at. */
  get looked() {
    return this.to === 0 ? 0 : this.to - this.from + 1;
  }

  /**
   * The answer to a search backward from `start`.
   * @param {number} start
   * @param {SearchAnswer} answer
   */
  backward(start, answer) {
    if (this.to === 0) this.to = start;
    const found = answer.entries.filter((entry) => entry.index <= start).sort((a, b) => a.index - b.index);
    this.entries = [...found, ...this.entries.filter((entry) => entry.index > start)];
    this.from = answer.next === null ? Math.min(start, answer.first) : answer.next + 1;
    this.more = answer.next !== null && answer.next >= answer.first;
  }

  /**
   * The answer to a search forward from `start`.
   * @param {number} start
   * @param {SearchAnswer} answer
   */
  forward(start, answer) {
    if (this.to === 0) this.from = start;
    const found = answer.entries.filter((entry) => entry.index >= start).sort((a, b) => a.index - b.index);
    this.entries = [...this.entries.filter((entry) => entry.index < start), ...found];
    this.to = answer.next === null ? Math.max(start - 1, answer.last) : answer.next - 1;
    // The oldest go: whoever follows the tail looks at the newest.
    if (this.entries.length > MATCHES_MAX) {
      this.entries = this.entries.slice(-MATCHES_MAX);
      this.from = this.entries[0]?.index ?? this.from;
      this.more = true;
    }
  }
}
