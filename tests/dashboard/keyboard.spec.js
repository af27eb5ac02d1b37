// No mouse: every page is reached, and does what it is mainly for, by keys alone.

import { expect, test } from "./support/dashboard.js";

/** @import { Dashboard } from "./support/dashboard.js" */

/** Steps of the Tab key from the start of a page to its last control, at most. */
const TABS_MAX = 120;

test("each page has a key, and a place in the order of Tab", async ({ shared, dashboard }) => {
  const [node] = shared.nodes;
  if (!node) throw new Error("there are nodes");
  const { page, main } = dashboard;
  await dashboard.open(node);
  for (const [place, title] of ["Cluster", "Log", "Events", "Queues", "Members"].entries()) {
    await page.keyboard.press(String(place + 1));
    await expect(main.getByRole("heading", { level: 1, name: title })).toBeVisible();
    await expect(page).toHaveTitle(new RegExp(`${title} · Quorate`));
  }
  await dashboard.open(node);
  await page.reload();
  await dashboard.ready();
  await page.keyboard.press("Tab");
  await expect(page.locator(":focus")).toHaveText("Skip to the page");
  await page.keyboard.press("Enter");
  await expect(main).toBeFocused();
  await tabTo(dashboard, "link", "Members", { backward: true });
  await page.keyboard.press("Enter");
  await expect(main.getByRole("heading", { level: 1, name: "Members" })).toBeVisible();
});

test("help lists the keys, and Escape leaves it", async ({ shared, dashboard }) => {
  const [node] = shared.nodes;
  if (!node) throw new Error("there are nodes");
  await dashboard.open(node, "#/log");
  await dashboard.page.keyboard.press("?");
  await expect(dashboard.dialog).toContainText("Follow the tail, or stop");
  await dashboard.page.keyboard.press("Escape");
  await expect(dashboard.dialog).toBeHidden();
  await dashboard.page.keyboard.press("t");
  await expect(dashboard.page.locator("html")).toHaveAttribute("data-theme", "dark");
});

test("the log is walked through, searched and compared by keys", async ({ shared, dashboard }) => {
  const [node] = shared.nodes;
  if (!node) throw new Error("there are nodes");
  const { page, main } = dashboard;
  await shared.run(["enqueue", "keys", "found by keys"]);
  await dashboard.open(node, "#/log");
  await tabTo(dashboard, "grid", "Entries of the log");
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowDown");
  await expect(main.locator(".vt-row[aria-selected=true]")).toContainText(/^2\b/);
  await page.keyboard.press("Enter");
  await expect(main.getByRole("heading", { name: "Entry 2" })).toBeFocused();
  await page.keyboard.press("Escape");
  await expect(main.getByRole("grid")).toBeFocused();
  await page.keyboard.press("g");
  await page.keyboard.type("1");
  await page.keyboard.press("Enter");
  await expect(main.locator(".vt-row[aria-selected=true]")).toContainText(/^1\b/);
  await page.keyboard.press("/");
  await page.keyboard.type("found by keys");
  await page.keyboard.press("Enter");
  await expect(dashboard.rows).toHaveCount(1);
  await tabTo(dashboard, "button", "Two side by side", { backward: true });
  await page.keyboard.press("Enter");
  await tabTo(dashboard, "button", "Compare all of both");
  await page.keyboard.press("Enter");
  await expect(dashboard.toasts).toContainText("No difference from 1 to ");
});

test("leadership is handed over by keys, and the dialog holds the focus", async ({ start, dashboard }) => {
  const cluster = await start(3);
  const [next] = await cluster.followers();
  if (!next) throw new Error("there are followers");
  await dashboard.open(next, "#/members");
  await tabTo(dashboard, "button", `Make leader ${next.name}`);
  await dashboard.page.keyboard.press("Enter");
  await expect(dashboard.dialog).toBeVisible();
  for (let step = 0; step < 8; step += 1) {
    await dashboard.page.keyboard.press("Tab");
    expect(
      await dashboard.page.evaluate(() => !document.querySelector("#main")?.contains(document.activeElement)),
    ).toBe(true);
  }
  await tabTo(dashboard, "button", "Make leader");
  await dashboard.page.keyboard.press("Enter");
  await dashboard.expectLeader(next.name);
  await expect(dashboard.dialog).toBeHidden();
});

test("a queue is opened, and a message sent, by keys", async ({ shared, dashboard }) => {
  const [node] = shared.nodes;
  if (!node) throw new Error("there are nodes");
  const { page, main } = dashboard;
  await shared.run(["enqueue", "keys", "a message"]);
  await dashboard.open(node, "#/queues");
  await expect(dashboard.rows.filter({ hasText: "keys" })).toBeVisible();
  await tabTo(dashboard, "grid");
  await page.keyboard.press("Home");
  while (!(await main.locator(".vt-row[aria-selected=true]").innerText()).includes("keys"))
    await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await expect(main.getByRole("heading", { level: 1 })).toContainText("keys");
  await tabTo(dashboard, "textbox", "Text of the message");
  await page.keyboard.type("sent by keys");
  await tabTo(dashboard, "button", "Send");
  await page.keyboard.press("Enter");
  await expect(main.getByRole("region", { name: "Messages" })).toContainText("sent by keys");
});

/**
 * Presses Tab until this control has the focus.
 * @param {Dashboard} dashboard
 * @param {"button" | "link" | "grid" | "textbox"} role
 * @param {string} [name]
 * @param {{ backward?: boolean }} [how]
 */
async function tabTo({ page }, role, name, { backward = false } = {}) {
  const wanted = page.getByRole(role, { exact: true, ...(name && { name }) }).first();
  await expect(wanted).toBeVisible();
  for (let step = 0; step < TABS_MAX; step += 1) {
    if (await wanted.evaluate((element) => element === document.activeElement)) return;
    await page.keyboard.press(backward ? "Shift+Tab" : "Tab");
  }
  throw new Error(`Tab does not come to the ${role} ${name}`);
}
