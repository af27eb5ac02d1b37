// What the log page keeps in memory, and how it compares two logs. Run with `node --test tests/dashboard/models`.

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  Compared,
  ENTRIES_MAX,
  EntryPages,
  Matches,
  PAGE,
  comparedWords,
  firstDifference,
  likeness,
} from "../../../src/dashboard/web/pages/log_model.js";

const entry = (index, more = {}) => ({ index, term: 1, kind: "command", digest: `d${index}`, size: 10, ...more });
const stretch = (from, to, more) => Array.from({ length: to - from + 1 }, (_, at) => entry(from + at, more));
const answer = (from, to, reach) => ({
  first: 1,
  last: 1000,
  commit: 1000,
  applied: 0,
  ...reach,
  entries: stretch(from, to),
});

test("pages are asked for once, the one in the middle first", () => {
  const pages = new EntryPages();
  pages.moved({ first: 1, last: 1000, commit: 1000, applied: 0 });
  assert.deepEqual(pages.missing(150, 620), [
    { from: 201, limit: 200 },
    { from: 1, limit: 200 },
    { from: 401, limit: 200 },
    { from: 601, limit: 200 },
  ]);
  pages.put(201, answer(201, 400));
  assert.equal(pages.get(300)?.index, 300);
  assert.equal(pages.get(401), undefined, "nobody has asked");
  assert.deepEqual(pages.missing(250, 390), []);
});

test("an answer that was stopped short is gone on with, and is no hole", () => {
  const pages = new EntryPages();
  pages.moved({ first: 1, last: 1000, commit: 1000, applied: 0 });
  pages.put(1, answer(1, 30));
  assert.equal(pages.get(31), undefined);
  assert.deepEqual(pages.missing(1, 200), [{ from: 31, limit: 170 }]);
});

test("where entries are large, what is visible is asked for first", () => {
  const pages = new EntryPages();
  pages.moved({ first: 1, last: 200, commit: 200, applied: 0 });
  assert.deepEqual(pages.missing(170, 200), [{ from: 1, limit: 200 }]);
  pages.put(1, answer(1, 2, { last: 200 }));
  assert.deepEqual(pages.missing(170, 200), [{ from: 170, limit: 31 }]);
  pages.put(170, answer(170, 171, { last: 200 }));
  assert.deepEqual(pages.missing(170, 200), [{ from: 172, limit: 29 }]);
  assert.deepEqual(pages.missing(160, 175), [{ from: 160, limit: 10 }], "what is known is not asked for again");
});

test("an entry that an answer leaves out is a hole", () => {
  const pages = new EntryPages();
  pages.put(1, { first: 1, last: 10, commit: 10, applied: 0, entries: [...stretch(1, 4), ...stretch(6, 10)] });
  assert.equal(pages.get(5), null);
  assert.equal(pages.get(6)?.index, 6);
});

test("entries that were not committed are read again once they are", () => {
  const pages = new EntryPages();
  pages.put(1, answer(1, 10, { last: 10, commit: 6 }));
  assert.deepEqual(pages.missing(1, 10), [], "nothing has changed");
  pages.moved({ first: 1, last: 12, commit: 9, applied: 0 });
  assert.deepEqual(pages.missing(1, 12), [{ from: 7, limit: 194 }]);
});

test("entries that stay uncommitted are read again now and then: a leader may have replaced them", () => {
  const pages = new EntryPages();
  pages.put(1, answer(1, 10, { last: 10, commit: 6 }));
  for (let move = 1; move <= 4; move++) {
    assert.deepEqual(pages.missing(1, 10), []);
    pages.moved({ first: 1, last: 10, commit: 6, applied: 0 });
  }
  assert.deepEqual(pages.missing(1, 10), [{ from: 7, limit: 194 }]);
});

test("what a follower cuts from its log is forgotten, once it is told twice", () => {
  const pages = new EntryPages();
  pages.put(1, answer(1, 10, { last: 10, commit: 6 }));
  pages.moved({ first: 1, last: 8, commit: 6, applied: 0 });
  assert.equal(pages.get(9)?.index, 9, "what was told may be older than what was read");
  assert.equal(pages.readTo, 10);
  pages.moved({ first: 1, last: 8, commit: 6, applied: 0 });
  assert.equal(pages.get(9), undefined);
  assert.equal(pages.readTo, 8);
  pages.moved({ first: 1, last: 10, commit: 6, applied: 0 });
  assert.deepEqual(pages.missing(1, 10), [{ from: 9, limit: 192 }]);
});

test("a log that begins in the middle of a page is shown from there", () => {
  const pages = new EntryPages();
  pages.put(1, answer(1, 50));
  pages.moved({ first: 120, last: 1000, commit: 1000, applied: 0 });
  assert.deepEqual(pages.missing(100, 150), [{ from: 120, limit: 81 }]);
  pages.put(120, answer(120, 200, { first: 120 }));
  assert.equal(pages.get(120)?.index, 120);
  assert.deepEqual(pages.missing(100, 150), []);
});

test("memory is bounded, and what was used last stays", () => {
  const pages = new EntryPages();
  const last = ENTRIES_MAX * 3;
  for (let from = 1; from <= last; from += PAGE) {
    pages.put(from, answer(from, from + PAGE - 1, { last, commit: last }));
    pages.missing(1, 10);
  }
  assert.ok(pages.size <= ENTRIES_MAX, `${pages.size} entries are kept`);
  assert.equal(pages.get(1)?.index, 1, "used all the time");
  assert.equal(pages.get(last)?.index, last);
  assert.equal(pages.get(PAGE * 2), undefined, "used long ago");
});

test("large entries are bounded by their bytes", () => {
  const pages = new EntryPages();
  for (let from = 1; from <= 2000; from += PAGE) {
    pages.put(from, {
      first: 1,
      last: 2000,
      commit: 2000,
      applied: 0,
      entries: stretch(from, from + PAGE - 1, { size: 1024 * 1024 }),
    });
  }
  assert.equal(pages.size, PAGE);
});

test("each kind of difference has its name", () => {
  const [left, right] = [new EntryPages(), new EntryPages()];
  left.put(1, { first: 1, last: 9, commit: 9, applied: 0, entries: stretch(1, 9) });
  const rights = [entry(3), entry(4, { term: 2 }), entry(5, { digest: "x" }), entry(7), entry(8), entry(9), entry(10)];
  right.put(3, { first: 3, last: 10, commit: 9, applied: 0, entries: rights });
  const seen = [1, 2, 3, 4, 5, 6, 7, 10, 11].map((index) => likeness(index, left, right));
  assert.deepEqual(seen, [
    "compacted_right",
    "compacted_right",
    "equal",
    "term",
    "content",
    "missing_right",
    "equal",
    "behind_left",
    "behind_left",
  ]);
});

test("the summary says what was compared", () => {
  const compared = new Compared();
  assert.equal(comparedWords(compared, 10), "nothing compared yet");
  for (let index = 5230; index >= 101; index--) compared.record(index, "equal");
  assert.equal(comparedWords(compared, 5130), "identical from 101 to 5,230");
  compared.record(5231, "term");
  assert.equal(comparedWords(compared, 5131), "identical from 101 to 5,230; differs at 5,231");
  assert.equal(
    comparedWords(compared, 6000),
    "identical from 101 to 5,230; differs at 5,231 (compared 5,131 of 6,000 that both have)",
  );
  compared.record(5231, "equal");
  assert.equal(comparedWords(compared, 5131), "identical from 101 to 5,231", "cut and replicated anew");
  compared.record(200, "content");
  assert.equal(comparedWords(compared, 5131), "identical from 101 to 199 and from 201 to 5,231; differs at 200");
});

test("the walk stops at the first difference", async () => {
  const rights = stretch(1, 5000);
  rights[3210] = entry(3211, { digest: "other" });
  const logs = { left: stretch(1, 5000), right: rights };
  const compared = new Compared();
  const read = async (side, from, limit) =>
    logs[side].slice(from - 1, from - 1 + (side === "left" ? limit : limit - 7));
  const at = await firstDifference({ from: 1, to: 5000, limit: 1000, read, compared, onProgress: () => {} });
  assert.equal(at, 3211);
  assert.deepEqual(compared.equal, [[1, 3210]]);
  assert.deepEqual(compared.different, [3211]);
});

test("the walk through equal logs finds nothing, and an answer of nothing ends it", async () => {
  const all = stretch(1, 2500);
  const read = async (_side, from, limit) => all.slice(from - 1, from - 1 + limit);
  const walk = { from: 1, to: 2500, limit: 1000, read, compared: new Compared(), onProgress: () => {} };
  assert.equal(await firstDifference(walk), null);
  await assert.rejects(firstDifference({ ...walk, to: 2600 }), /from 2,501 on/);
});

test("a search goes back from the end, and forward with what comes", () => {
  const matches = new Matches();
  matches.backward(100_000, { entries: [entry(99_000), entry(99_990)], next: 80_000, first: 101, last: 100_000 });
  assert.equal(matches.looked, 20_000);
  matches.backward(80_000, { entries: [entry(70_000)], next: 60_000, first: 101, last: 100_000 });
  assert.deepEqual(
    matches.entries.map(({ index }) => index),
    [70_000, 99_000, 99_990],
  );
  matches.forward(100_001, { entries: [entry(100_005)], next: null, first: 101, last: 100_010 });
  assert.deepEqual([matches.from, matches.to, matches.more], [60_001, 100_010, true]);
  matches.backward(60_000, { entries: [], next: null, first: 101, last: 100_010 });
  assert.deepEqual([matches.from, matches.more], [101, false]);
});
