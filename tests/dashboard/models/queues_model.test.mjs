// Which pages of queues are fetched, and what is kept of them. Run with `node --test tests/dashboard/models`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { PAGE, QueuePages, secondsToMs, wholeNumber } from "../../../src/dashboard/web/pages/queues_model.js";

const queue = (name) => ({ name, ready: 1 });
const page = (prefix, count, more) => ({
  queues: Array.from({ length: count }, (_, at) => queue(`${prefix}${String(at).padStart(4, "0")}`)),
  more,
});

function loaded() {
  const pages = new QueuePages();
  pages.put(0, page("a", PAGE, true));
  pages.put(1, page("b", PAGE, true));
  return pages;
}

test("by name, only the visible pages are fetched, and the way to them", () => {
  const pages = loaded();
  assert.deepEqual(pages.wanted(0, 60, "name"), [0]);
  assert.deepEqual(pages.wanted(150, 230, "name"), [0, 1]);
  assert.deepEqual(pages.wanted(900, 950, "name"), [2, 3, 4], "whoever jumps ahead waits for what lies between");
  assert.deepEqual([pages.after(0), pages.after(1), pages.after(2)], ["", "a0199", "b0199"]);
});

test("by a number, all pages from the first are fetched", () => {
  assert.deepEqual(loaded().wanted(150, 430, "ready"), [0, 1, 2]);
});

test("the last page ends the list", () => {
  const pages = loaded();
  pages.put(2, page("c", 5, false));
  assert.equal(pages.names.length, 405);
  assert.deepEqual(pages.wanted(380, 405, "name"), [1, 2]);
  assert.equal(pages.more, false);
  pages.put(1, page("b", 10, false));
  assert.equal(pages.names.length, 210, "what came after is gone");
  assert.equal(pages.get("c0001"), null);
});

test("a queue that moves to another page is there once", () => {
  const pages = loaded();
  const moved = page("a", PAGE - 1, true);
  pages.put(0, { queues: [queue("b0007"), ...moved.queues], more: true });
  assert.equal(pages.names.filter((name) => name === "b0007").length, 1);
  assert.equal(pages.names[0], "b0007");
  assert.equal(pages.names.length, 2 * PAGE - 1);
});

test("while somebody reads, numbers change and the order does not", () => {
  const pages = loaded();
  pages.put(0, { queues: [{ name: "a0005", ready: 99 }], more: true }, true);
  assert.equal(pages.names[0], "a0000");
  assert.equal(pages.get("a0005").ready, 99);
});

test("numbers of people are read within bounds", () => {
  assert.deepEqual(
    ["30", "1.5", "0,25", "0", "-1", "1e3", "", "43201"].map((text) => secondsToMs(text, 1, 43_200_000)),
    [30_000, 1500, 250, null, null, null, null, null],
  );
  assert.deepEqual(
    ["5", " 5 ", "0", "5.0", "1001", "x"].map((text) => wholeNumber(text, 1, 1000)),
    [5, 5, null, null, null, null],
  );
});
