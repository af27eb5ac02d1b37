// The log of one node: what is in it is shown as what it means, and found.

import { rename } from "node:fs/promises";

import { eventually } from "./support/cluster.js";
import { expect, test } from "./support/dashboard.js";

test("what is enqueued appears in the log of every node, decoded", async ({ shared, dashboard }) => {
  const [first] = shared.nodes;
  if (!first) throw new Error("there are nodes");
  for (const { name } of shared.nodes) {
    await dashboard.open(first, `#/log?node=${name}`);
    await expect(dashboard.main.getByRole("button", { name: "Following the tail" })).toBeVisible();
    await shared.run(["enqueue", "orders", `one pizza for ${name}`]);
    const row = dashboard.rows.filter({ hasText: `one pizza for ${name}` });
    await expect(row).toHaveCount(1);
    await expect(row).toContainText("enqueue orders");
    await expect(row).toContainText("command");
    await row.click();
    const entry = dashboard.main.getByRole("complementary", { name: "The selected entry" });
    await expect(entry).toContainText("committed, applied");
    await expect(entry.locator("pre")).toHaveText(`one pizza for ${name}`);
    await expect(entry.getByRole("link", { name: "orders" })).toBeVisible();
  }
});

test("who scrolls slowly away from the tail is not brought back by what the node tells", async ({
  shared,
  dashboard,
}) => {
  const [first] = shared.nodes;
  if (!first) throw new Error("there are nodes");
  const { page, main } = dashboard;
  await page.setViewportSize({ width: 1280, height: 400 });
  for (let count = 0; count < 15; count += 1) await shared.run(["enqueue", "scrolled", `number ${count}`]);
  await dashboard.open(first, "#/log");
  await expect(dashboard.rows.filter({ hasText: "number 14" })).toBeVisible();
  const scroller = main.locator(".vt-scroll");
  const place = () => scroller.evaluate((element) => element.scrollTop);
  const end = await place();
  expect(end).toBeGreaterThan(8);
  await scroller.evaluate((element) => element.scrollBy(0, -8));
  await page.evaluate(
    () =>
      new Promise((resolve) => {
        const stream = new EventSource("api/stream");
        let heard = 0;
        stream.addEventListener("cluster", () => {
          heard += 1;
          if (heard < 4) return;
          stream.close();
          resolve(null);
        });
      }),
  );
  expect(await place()).toBe(end - 8);
});

test("entries are found by text, kind and queue, and by their index", async ({ shared, dashboard }) => {
  const [first] = shared.nodes;
  if (!first) throw new Error("there are nodes");
  await shared.run(["enqueue", "found", "needle"]);
  await shared.run(["enqueue", "other", "straw", "straw"]);
  await dashboard.open(first, "#/log");

  await dashboard.main.getByLabel("Text").fill("needle");
  await dashboard.main.getByRole("button", { name: "Search" }).click();
  await expect(dashboard.rows).toHaveCount(1);
  await expect(dashboard.rows).toContainText("needle");
  await dashboard.page.reload();
  await dashboard.ready();
  await expect(dashboard.rows, "the address has the search").toHaveCount(1);

  await dashboard.main.getByRole("button", { name: "Show all" }).click();
  await dashboard.main.getByLabel("Queue").fill("other");
  await dashboard.main.getByLabel("Queue").press("Enter");
  await expect(dashboard.rows).toHaveCount(1);
  await expect(dashboard.rows).toContainText("enqueue other straw and 1 more operation");

  await dashboard.main.getByRole("button", { name: "Show all" }).click();
  await dashboard.main.getByLabel("Kind").selectOption("members");
  await expect(dashboard.row(0)).toContainText("voters");
  for (const row of await dashboard.rows.all()) await expect(row).toContainText("members");

  await dashboard.main.getByRole("button", { name: "Show all" }).click();
  await dashboard.main.getByLabel("Index to go to").fill("2");
  await dashboard.main.getByLabel("Index to go to").press("Enter");
  await expect(dashboard.main.locator(".vt-row[aria-selected=true]")).toContainText(/^2\b/);
  await expect(dashboard.main.getByRole("complementary")).toContainText("Entry 2");
});

test("a node that is replaced by one of its name: the log of that one is gone on with", async ({
  start,
  dashboard,
}) => {
  const cluster = await start(3);
  const [asked, other] = await cluster.followers();
  if (!asked || !other) throw new Error("there are followers");
  await dashboard.open(asked, `#/log?node=${other.name}`);
  await expect(dashboard.main.getByRole("button", { name: "Following the tail" })).toBeVisible();
  dashboard.expectRefusals(404, 502, 503, 504);
  await other.kill();
  await rename(other.data, `${other.data}.lost`);
  other.start([asked]);
  await expect(dashboard.toasts).toContainText("was replaced");
  await expect(dashboard.main.locator(".log-node select").first()).not.toHaveValue("");
  await cluster.run(["enqueue", "orders", "one pizza after all"]);
  await expect(dashboard.rows.filter({ hasText: "one pizza after all" })).toBeVisible();
  await expect(dashboard.main.locator(".log-status")).toContainText(" has 1 to ");
});

test("a node that was removed: what was read of its log stays, and is marked as such", async ({ start, dashboard }) => {
  const cluster = await start(3);
  const [asked, other] = await cluster.followers();
  if (!asked || !other) throw new Error("there are followers");
  const follow = dashboard.main.getByRole("button", { name: /ollow.* the tail/ });
  await cluster.run(["enqueue", "orders", "early"]);
  await dashboard.open(asked, `#/log?node=${other.name}`);
  const pair = await dashboard.another();
  await pair.open(asked, `#/log?left=${asked.name}&right=${other.name}`);
  const search = await dashboard.another();
  await search.open(asked, `#/log?node=${other.name}&text=early`);
  for (const page of [dashboard, pair, search]) await expect(page.rows.filter({ hasText: "early" })).toBeVisible();
  await expect(follow).toHaveText("Following the tail");

  await cluster.run(["member", "remove", other.name]);
  await cluster.run(["enqueue", "orders", "late"]);
  for (const page of [dashboard, pair, search]) {
    await expect(page.main).toContainText("is no longer a member: of its log");
    await expect(page.rows.filter({ hasText: "early" })).toBeVisible();
  }
  await expect(dashboard.main.locator(".log-node option:checked").first()).toContainText("(no longer a member)");
  await expect(follow).toHaveText("Follow the tail");
  await expect(follow).toBeDisabled();
  // The log of the node that stays goes on.
  const late = pair.rows.filter({ hasText: "late" });
  await expect(late).toContainText(`not on ${other.name}`);
  await expect(late).toContainText("committed, applied");
  await expect(pair.main.getByRole("button", { name: "Following the tail" })).toBeVisible();
});

test("where the log was compacted it says so", async ({ start, dashboard }) => {
  const cluster = await start(1, {
    QUORATE__STORAGE__SNAPSHOT_ENTRIES: "1000",
    QUORATE__STORAGE__SNAPSHOT_BYTES: "1MiB",
    QUORATE__STORAGE__SEGMENT_BYTES: "8MiB",
  });
  const [node] = cluster.nodes;
  if (!node) throw new Error("there is a node");
  await cluster.fill(20_000, "1KiB");
  await eventually("the log to begin later", async () => ((await cluster.status())[0]?.storage.first_index ?? 0) > 1);
  await dashboard.open(node, "#/log");
  await dashboard.main.locator(".vt-scroll").press("Home");
  await expect(dashboard.row(0)).toContainText("snapshot");
  await dashboard.main.getByLabel("Index to go to").fill("1");
  await dashboard.main.getByLabel("Index to go to").press("Enter");
  await expect(dashboard.toasts).toContainText("1 is in the snapshot");
});

test("an entry leads to its trace, where there is one and somebody shows it", async ({ start, dashboard }) => {
  const cluster = await start(1, { QUORATE__ADMIN__TRACE_URL: "https://traces.example/trace/{trace_id}" });
  const [node] = cluster.nodes;
  if (!node) throw new Error("there is a node");
  const trace = "0af7651916cd43dd8448eb211c80319c";
  await cluster.run(["enqueue", "traced", "one pizza"], { trace: `00-${trace}-b7ad6b7169203331-01` });
  await dashboard.open(node, "#/log");
  const link = dashboard.rows.filter({ hasText: "traced" }).getByRole("link");
  await expect(link).toHaveAttribute("href", `https://traces.example/trace/${trace}`);
  await expect(link).toHaveAttribute("rel", /noopener/);
});

test("where content is not to be shown, the page gets none", async ({ start, dashboard }) => {
  const cluster = await start(3, { QUORATE__ADMIN__SHOW_CONTENT: "false" });
  const [node] = cluster.nodes;
  if (!node) throw new Error("there are nodes");
  await cluster.run(["enqueue", "secrets", "--header", "key=hidden header", "hidden body"]);
  /** @type {string[]} */
  const answers = [];
  dashboard.page.on("response", async (response) => {
    if (response.url().includes("/api/") && !response.url().endsWith("/stream")) answers.push(await response.text());
  });
  await dashboard.open(node, "#/log");
  const row = dashboard.rows.filter({ hasText: "secrets" });
  await expect(row).toContainText("masked");
  await row.click();
  await expect(dashboard.main.getByRole("complementary")).toContainText(/masked\b.*the setting admin\.show_content/);
  await dashboard.open(node, "#/queue?name=secrets");
  await expect(dashboard.main.getByRole("region", { name: "Messages" }).getByRole("listitem")).toContainText("masked");
  expect(answers.filter((answer) => answer.includes("secrets")).length).toBeGreaterThan(1);
  for (const answer of answers) expect(answer).not.toMatch(/hidden|aGlkZGVu/);
});
