// The logs of two nodes side by side: equal where Raft promises it, and otherwise marked in sign and word.

import { eventually } from "./support/cluster.js";
import { expect, test } from "./support/dashboard.js";

/** @import { Dashboard } from "./support/dashboard.js" */

test("the logs of a healthy cluster do not differ", async ({ shared, dashboard }) => {
  const [first] = shared.nodes;
  if (!first) throw new Error("there are nodes");
  await shared.run(["enqueue", "pairs", "left", "right"]);
  await dashboard.open(first, "#/log?left=b&right=c");
  await expect(dashboard.rows.filter({ hasText: "equal" }).first()).toBeVisible();
  await dashboard.main.getByRole("button", { name: "Compare all of both" }).click();
  await expect(dashboard.toasts).toContainText("No difference from 1 to ");
  await expect(summary(dashboard)).toHaveText(/^identical from 1 to [\d,]+$/);
});

test("an entry that differs is marked, and the summary names its index", async ({ shared, dashboard }) => {
  const [first] = shared.nodes;
  if (!first) throw new Error("there are nodes");
  await shared.run(["enqueue", "pairs", "true"]);
  const status = await shared.status();
  const id = status.find(({ member }) => member.name === "c")?.member.node_id ?? "";
  /** Node c lies about two entries: one has another content, one another term. */
  await dashboard.page.route(/\/api\/log\?/, async (route) => {
    const response = await route.fetch();
    const part = await response.json();
    if (part.node === id)
      for (const entry of part.entries) {
        if (entry.index === 3) entry.digest = "00000bad";
        if (entry.index === 5) entry.term += 1;
      }
    await route.fulfill({ response, json: part });
  });
  await dashboard.open(first, "#/log?left=a&right=c&from=4");
  await expect(summary(dashboard)).toContainText("differs at 3 and at 1 more");
  await expect(row(dashboard, 3)).toContainText("‼ other content");
  await expect(row(dashboard, 5)).toContainText("≠ other term");
  await expect(row(dashboard, 4)).toContainText("= equal");
});

test("a tail that a deposed leader was alone with is marked", async ({ start, dashboard }) => {
  const cluster = await start(4);
  const deposed = await cluster.leader();
  const others = cluster.nodes.filter((node) => node !== deposed);
  await cluster.run(["enqueue", "pairs", "before"]);

  // Its followers are silent, so that what it takes reaches nobody. Then they go on without it.
  for (const node of others) node.freeze();
  await cluster.run(["enqueue", "pairs", "lost"], { at: deposed, timeout: "300ms" }).catch(() => {});
  await deposed.kill();
  for (const node of others) node.thaw();
  const leader = await cluster.leader();
  await cluster.run(["enqueue", "pairs", "kept", "kept"], { timeout: "20s" });

  // One that has what was committed, and the deposed one: two of four, so that nobody leads and nothing is mended.
  const [witness, third] = others.filter((node) => node !== leader);
  if (!witness || !third) throw new Error("there are four nodes");
  await eventually("the witness to have it", async () =>
    (await cluster.run(["log", "--stale", "--last", "3"], { at: witness })).includes("kept"),
  );
  await leader.kill();
  await third.kill();
  deposed.start([witness]);

  await dashboard.open(witness, `#/log?left=${witness.name}&right=${deposed.name}`);
  await dashboard.expectLeader(null);
  await dashboard.main.getByRole("button", { name: "Compare all of both" }).click();
  await expect(summary(dashboard)).toContainText(/differs at \d+/);
  const differs = Number(/differs at (\d+)/.exec(await summary(dashboard).innerText())?.[1]);
  await expect(row(dashboard, differs)).toContainText("≠ other term");
  await dashboard.main.locator(".vt-row[aria-selected=true]").click();
  await expect(dashboard.main.getByRole("complementary")).toContainText("Two leaders put different entries here");
});

/** @param {Dashboard} dashboard */
function summary(dashboard) {
  return dashboard.main.locator(".pair-summary");
}

/**
 * @param {Dashboard} dashboard
 * @param {number} index
 */
function row(dashboard, index) {
  return dashboard.rows.filter({ hasText: new RegExp(`^${index.toLocaleString("en")}, [a-z]`) });
}
