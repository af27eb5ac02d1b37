// The first page is small and there at once, and a long log and many queues scroll without a halt. Figures are printed;
// the bounds are far from them, as the machine may be busy.

import { expect, test } from "./support/dashboard.js";

/** @import { Dashboard } from "./support/dashboard.js" */

/** Packed, as the release build sends it. */
const FIRST_PAGE_BYTES_MAX = 150 * 1024;
const FIRST_PAGE_MS_MAX = 1000;
const ENTRIES = 100_000;
const QUEUES = 1000;
/** Of the processor. */
const STEP_MS_MAX = 100;

/** Rows in the document, of a table that shows some thirty. */
const ROWS_MAX = 120;

test("the first page is small, and drawn within a second", async ({ shared, dashboard }) => {
  const [node] = shared.nodes;
  if (!node) throw new Error("there are nodes");
  const { page } = dashboard;
  const browser = await page.context().newCDPSession(page);
  await browser.send("Network.enable");
  let bytes = 0;
  /** @type {string[]} */
  const files = [];
  page.on("response", (response) => response.url().includes("/api/") || files.push(response.url()));
  /** @type {Set<string>} */
  const streams = new Set();
  browser.on("Network.responseReceived", ({ requestId, type }) => type === "EventSource" && streams.add(requestId));
  browser.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
    if (!streams.has(requestId)) bytes += encodedDataLength;
  });
  await page.addInitScript(() => {
    const watch = new MutationObserver(() => {
      if (document.querySelectorAll("article").length < 3) return;
      watch.disconnect();
      performance.mark("cards");
    });
    watch.observe(document, { childList: true, subtree: true });
  });
  await dashboard.open(node);
  await expect(dashboard.main.getByRole("article")).toHaveCount(3);
  await page.waitForLoadState("load");
  const { paint, cards } = await page.evaluate(() => ({
    paint: performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? Infinity,
    cards: performance.getEntriesByName("cards")[0]?.startTime ?? Infinity,
  }));
  // Browsers take Brotli from this machine only, and from other ones without TLS the older form.
  const gzip = files.map(async (url) => {
    const answer = await page.request.get(url, { headers: { "accept-encoding": "gzip" } });
    return Number(answer.headers()["content-length"]);
  });
  const older = (await Promise.all(gzip)).reduce((sum, size) => sum + size, 0);
  console.log(`first page, of ${files.length} files: ${older} bytes as gzip`);
  expect(older).toBeLessThan(FIRST_PAGE_BYTES_MAX);
  console.log(
    `first page: ${bytes} bytes, first paint after ${Math.round(paint)} ms, all nodes after ${Math.round(cards)} ms`,
  );
  expect(bytes).toBeGreaterThan(10_000);
  expect(bytes).toBeLessThan(FIRST_PAGE_BYTES_MAX);
  expect(Math.max(paint, cards)).toBeLessThan(FIRST_PAGE_MS_MAX);
});

test("100,000 entries and 1,000 queues scroll without a halt", async ({ start, dashboard }) => {
  test.setTimeout(240_000);
  const cluster = await start(3, { QUORATE__STORAGE__SNAPSHOT_ENTRIES: "1000000" });
  const [node] = await cluster.followers();
  if (!node) throw new Error("there are followers");
  const queues = Array.from({ length: QUEUES }, (_, place) => `queue-${String(place).padStart(4, "0")}`);
  const lines = queues.flatMap((queue) => [`enqueue ${queue} first`, `enqueue ${queue} second`]);
  await cluster.run(["repl"], { input: lines.join("\n") });
  await cluster.fill(ENTRIES);

  await dashboard.open(node, "#/log");
  const grid = dashboard.main.getByRole("grid");
  await expect.poll(async () => Number(await grid.getAttribute("aria-rowcount"))).toBeGreaterThan(ENTRIES);
  await scrollThrough(dashboard, "the log");
  await dashboard.page.keyboard.press("Home");
  await expect(dashboard.row(0)).toContainText(/\d/);

  await dashboard.open(node, "#/queues");
  await expect.poll(async () => Number(await grid.getAttribute("aria-rowcount"))).toBeGreaterThan(QUEUES);
  await scrollThrough(dashboard, "the queues");
});

/**
 * With the wheel, by pages, and from end to end. What a step takes is what the page itself computes: other processes may
 * hold the machine meanwhile.
 * @param {Dashboard} dashboard
 * @param {string} what
 */
async function scrollThrough({ page, main }, what) {
  const grid = main.getByRole("grid");
  const browser = await page.context().newCDPSession(page);
  await browser.send("Performance.enable", { timeDomain: "threadTicks" });
  const computed = async () => {
    const { metrics } = await browser.send("Performance.getMetrics");
    return 1000 * (metrics.find(({ name }) => name === "TaskDuration")?.value ?? NaN);
  };
  let rows = 0;
  /** @type {number[]} */
  const steps = [];
  /** @param {() => Promise<void>} act */
  const step = async (act) => {
    const before = await computed();
    await act();
    const count = await page.evaluate(async () => {
      for (let frame = 0; frame < 2; frame += 1) await new Promise(requestAnimationFrame);
      return document.querySelectorAll(".vt-row").length;
    });
    steps.push((await computed()) - before);
    rows = Math.max(rows, count);
  };
  await grid.hover();
  for (let count = 0; count < 40; count += 1) await step(() => page.mouse.wheel(0, count % 2 === 0 ? -900 : -90_000));
  await grid.focus();
  for (const key of ["Home", "End", "Home"]) {
    await step(() => page.keyboard.press(key));
    for (let count = 0; count < 20; count += 1)
      await step(() => page.keyboard.press(key === "Home" ? "PageDown" : "PageUp"));
  }
  const longest = Math.round(Math.max(...steps));
  const long = steps.filter((ms) => ms > 50).length;
  console.log(
    `${what}: ${long} of ${steps.length} steps of over 50 ms, the longest of ${longest} ms; ${rows} rows at most`,
  );
  expect(longest).toBeLessThan(STEP_MS_MAX);
  expect(rows).toBeLessThan(ROWS_MAX);
}
