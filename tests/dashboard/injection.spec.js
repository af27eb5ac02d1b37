// What clients write is text, wherever it is shown: names, bodies and headers run nothing, load nothing and break
// nothing.

import { expect, test } from "./support/dashboard.js";
import { expectGoodLayout } from "./support/looks.js";

/** @import { Dashboard } from "./support/dashboard.js" */

/** Would be asked for an image or a script if some text became markup. Nobody listens there. */
const ELSEWHERE = "http://127.0.0.1:9";

const BODIES = [
  `<img src="${ELSEWHERE}/image" onerror="alert('image')">`,
  `"><script src="${ELSEWHERE}/script"></script><script>alert('script')</script>`,
  `'-alert('quote')-'`,
  `</pre></td></table><iframe srcdoc="<script>alert('frame')</script>"></iframe>`,
  `<svg onload=alert('svg')><style>* { display: none }</style>`,
  "javascript:alert('address')",
  "{{constructor.constructor('alert(1)')()}} ${alert(1)}",
  `{"__proto__":{"polluted":true},"text":"<b onclick=alert(1)>bold</b>"}`,
];

/** The override of direction turns what follows it round, the rest are seen by nobody. */
const HIDDEN = "user\u202Etxt.exe\u202C a\u2066b\u2069 c\u200Bd\uFEFFe\u0007f\u0085g";

/** What the rule for names allows, and is a trap for whoever builds addresses or objects from them. */
const QUEUES = [
  "javascript:alert",
  "//evil.example/x",
  "../../etc/passwd",
  "__proto__",
  "constructor",
  "a/b:c",
  "x".repeat(255),
];

const HEADER_KEY = `"><script>alert('key')</script>`;
const HEADER_VALUE = `<img src="${ELSEWHERE}/header" onerror="alert('value')">\u202Eevil`;

test("bodies and headers are text in the log", async ({ shared, dashboard }) => {
  const [node] = shared.nodes;
  if (!node) throw new Error("there are nodes");
  await dashboard.open(node, "#/log");
  for (const body of [...BODIES, HIDDEN]) {
    await shared.run(["enqueue", "traps", "--header", `${HEADER_KEY}=${HEADER_VALUE}`, "--", body]);
    await dashboard.rows.filter({ hasText: `enqueue traps ${shownAs(body).slice(0, 40)}` }).click();
    const entry = dashboard.main.getByRole("complementary");
    await entry.getByRole("button", { name: "Text" }).click();
    await expect(entry.locator("pre")).toHaveText(shownAs(body));
    await expect(entry.locator("table")).toContainText(HEADER_KEY);
    await expect(entry.locator("table")).toContainText(shownAs(HEADER_VALUE));
    await expectNothingRan(dashboard);
  }
  await expectGoodLayout(dashboard.page);
});

test("names of queues are text, in every page that has them", async ({ shared, dashboard }) => {
  const [node] = shared.nodes;
  if (!node) throw new Error("there are nodes");
  for (const queue of QUEUES) await shared.run(["enqueue", queue, "--", BODIES[0] ?? ""]);
  await dashboard.open(node, "#/queues");
  for (const queue of QUEUES) {
    await dashboard.open(node, "#/queues");
    await dashboard.main.getByRole("searchbox").fill(queue.slice(0, 200));
    await expect(dashboard.main.getByText(queue.slice(0, 100)).first()).toBeVisible();
    await expectNothingRan(dashboard);
    await dashboard.open(node, `#/queue?name=${encodeURIComponent(queue)}`);
    await expect(dashboard.main.getByRole("heading", { level: 1 })).toContainText(queue.slice(0, 40));
    await expect(dashboard.main.getByText(BODIES[0] ?? "").first()).toBeVisible();
    await expectNothingRan(dashboard);
  }
  await expectGoodLayout(dashboard.page);
});

test("a body of one mebibyte neither stops the page nor breaks it", async ({ shared, dashboard }) => {
  const [node] = shared.nodes;
  if (!node) throw new Error("there are nodes");
  const body = `${BODIES[0]} ${"long ".repeat(300_000)}`.slice(0, 1 << 20);
  await shared.run(["enqueue", "large", "-"], { input: body });
  await dashboard.open(node, "#/log");
  const row = dashboard.rows.filter({ hasText: "enqueue large" });
  await expect(row).toContainText(BODIES[0] ?? "");
  await expect(row, "of all of it, and not of what the node sent of it").toContainText("… 1,024 KiB more");
  await row.click();
  const entry = dashboard.main.getByRole("complementary");
  await expect(entry).toContainText("1,048,576 bytes");
  expect((await entry.locator("pre").innerText()).length).toBeLessThan(30_000);
  await expectGoodLayout(dashboard.page);
  await dashboard.open(node, "#/queue?name=large");
  await expect(dashboard.main.getByText(BODIES[0] ?? "").first()).toBeVisible();
  await expect(dashboard.main.locator("summary")).toContainText("… 1,024 KiB more");
  await expectGoodLayout(dashboard.page);
  await expectNothingRan(dashboard);
});

test("an entry of bodies that grow when they are shown does not stop the page", async ({ shared, dashboard }) => {
  const [node] = shared.nodes;
  if (!node) throw new Error("there are nodes");
  const deep = `${"[".repeat(8191)}${"]".repeat(8191)}`;
  const hidden = "\u001b.".repeat(8192);
  await shared.run(["enqueue", "grows", ...Array.from({ length: 25 }, () => [deep, hidden]).flat()]);
  await dashboard.open(node, "#/log");
  await dashboard.rows.filter({ hasText: "enqueue grows" }).click();
  const bodies = dashboard.main.getByRole("complementary").locator("pre");
  await expect(bodies).toHaveCount(50);
  const characters = await bodies.evaluateAll((all) => all.map((body) => body.textContent?.length ?? 0));
  expect(Math.max(...characters)).toBeLessThan(100_000);
  expect(await dashboard.page.locator("*").count()).toBeLessThan(50_000);
});

test("a name that is no name is refused in words", async ({ shared, dashboard }) => {
  const [node] = shared.nodes;
  if (!node) throw new Error("there are nodes");
  dashboard.expectRefusals(400);
  await dashboard.open(node, "#/members");
  await dashboard.main.getByText("Add one by hand").click();
  const form = dashboard.main.locator("form");
  await form.getByLabel("Name").fill(HEADER_KEY);
  await form.getByLabel("Node id").fill("0123456789abcdef");
  await form.getByLabel("Client address").fill(`${HEADER_KEY}:1`);
  await form.getByLabel("Peer address").fill(`${HEADER_KEY}:1`);
  const show = form.getByRole("button", { name: "Show what would change" });
  await show.click();
  expect(await form.evaluate((element) => /** @type {HTMLFormElement} */ (element).checkValidity())).toBe(false);
  // The node does not rely on that.
  await form.evaluate((element) => element.setAttribute("novalidate", ""));
  await show.click();
  await expect(dashboard.toasts.or(dashboard.dialog).getByText("<script>").first()).toBeVisible();
  await expectNothingRan(dashboard);
});

test("an address with a trap in it opens nothing", async ({ shared, dashboard }) => {
  const [node] = shared.nodes;
  if (!node) throw new Error("there are nodes");
  dashboard.expectRefusals(400, 404);
  for (const trap of [BODIES[0], BODIES[1], BODIES[5], "__proto__", "%", "\u202E"].map((text) =>
    encodeURIComponent(text ?? ""),
  ))
    for (const page of [
      "log?node=",
      "log?left=",
      "log?text=",
      "log?queue=",
      "queue?name=",
      "cluster?node=",
      "queues?filter=",
      "",
    ]) {
      await dashboard.open(node, `#/${page}${trap}`);
      await expect(dashboard.main.getByRole("heading").first()).toBeVisible();
      await expectNothingRan(dashboard);
    }
});

/**
 * A dialog, a script or a request would have failed the test already; no element may have come of text either.
 * @param {Dashboard} dashboard
 */
async function expectNothingRan({ page, main }) {
  await expect(main.locator("img, iframe, script, style, object, [onerror], [onload], [onclick]")).toHaveCount(0);
  await expect(page.locator("a[href^='javascript' i]")).toHaveCount(0);
  await expect(page.locator("a[href^='//']")).toHaveCount(0);
  expect(await page.evaluate(() => /** @type {any} */ ({}).polluted)).toBeUndefined();
}

/**
 * A character that hides is shown as a sign for it, or by its number.
 * @param {string} text
 */
function shownAs(text) {
  const number = (/** @type {string} */ character) =>
    character.codePointAt(0)?.toString(16).toUpperCase().padStart(4, "0");
  return text
    .replaceAll("\u0007", "\\x07")
    .replaceAll(/[\u0085\u200b\u202a-\u202e\u2066-\u2069\ufeff]/g, (character) => `<U+${number(character)}>`);
}
