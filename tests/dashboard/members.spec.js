// Members are changed through the page: it shows what would come of it first, and refuses what would lose the quorum.

import { eventually } from "./support/cluster.js";
import { expect, test } from "./support/dashboard.js";

/** @import { Cluster } from "./support/cluster.js" */
/** @import { Dashboard } from "./support/dashboard.js" */

test("leadership is handed over", async ({ start, dashboard }) => {
  const cluster = await start(3);
  const leader = await cluster.leader();
  const [next] = await cluster.followers();
  if (!next) throw new Error("there are followers");
  await dashboard.open(next, "#/members");
  await expect(change(dashboard, "Make leader", leader.name)).toBeHidden();
  await change(dashboard, "Make leader", next.name).click();
  await expectPlan(dashboard, {
    "Needed to commit": ["2", "2"],
    "Failures tolerated": ["1", "1"],
    Leader: [leader.name, next.name],
  });
  await dashboard.dialog.getByRole("button", { name: "Make leader" }).click();
  await expect(dashboard.dialog).toBeHidden();
  await dashboard.expectLeader(next.name);
  expect((await cluster.leader()).name).toBe(next.name);
});

test("a node is added as a learner, promoted and removed", async ({ start, dashboard }) => {
  const cluster = await start(3);
  const leader = await cluster.leader();
  const [asked] = await cluster.followers();
  if (!asked) throw new Error("there are followers");
  const { node, id } = await newcomer(cluster);
  await dashboard.open(asked, "#/members");

  await dashboard.main.getByText("Add one by hand").click();
  const form = dashboard.main.locator("form");
  await form.getByLabel("Name").fill(node.name);
  await form.getByLabel("Node id").fill(id);
  await form.getByLabel("Client address").fill(node.address);
  await form.getByLabel("Peer address").fill(node.peerAddress);
  await form.getByLabel("It stays a learner").check();
  await form.getByRole("button", { name: "Show what would change" }).click();
  await expectPlan(dashboard, {
    Voters: ["a, b, c", "a, b, c"],
    Learners: ["none", "d"],
    "Failures tolerated": ["1", "1"],
  });
  await dashboard.dialog.getByRole("button", { name: "Add" }).click();
  await expect(dashboard.dialog).toBeHidden();
  node.start(cluster.nodes.filter((member) => member !== node));
  await expect(row(dashboard, "d")).toContainText("Learner");

  await change(dashboard, "Promote", "d").click();
  await expectPlan(dashboard, {
    Voters: ["a, b, c", "a, b, c, d"],
    Learners: ["d", "none"],
    "Needed to commit": ["2", "3"],
    "Failures tolerated": ["1", "1"],
  });
  await dashboard.dialog.getByRole("button", { name: "Promote" }).click();
  await expect(dashboard.dialog).toBeHidden();
  await expect(row(dashboard, "d")).toContainText("voter");
  await expect(dashboard.strip).toContainText("4 of 4 voters, tolerates 1 failure");

  await change(dashboard, "Remove", "d").click();
  await expectPlan(dashboard, { Voters: ["a, b, c, d", "a, b, c"], "Needed to commit": ["3", "2"] });
  const confirm = dashboard.dialog.getByRole("button", { name: "Remove" });
  await expect(confirm).toBeDisabled();
  await dashboard.dialog.getByLabel("Type d to confirm").fill("c");
  await expect(confirm).toBeDisabled();
  await dashboard.dialog.getByLabel("Type d to confirm").fill("d");
  await confirm.click();
  await expect(dashboard.dialog).toBeHidden();
  await expect(row(dashboard, "d")).toHaveCount(0);
  await expect(dashboard.strip).toContainText("3 of 3 voters, tolerates 1 failure");
  expect((await cluster.leader()).name).toBe(leader.name);
});

test("a learner that gets nothing of the log says so, and nothing else of the cluster", async ({
  start,
  dashboard,
}) => {
  const cluster = await start(1);
  const leader = await cluster.leader();
  const { peerAddress } = await cluster.nobody();
  const node = await cluster.place();
  node.settings = { QUORATE__PEER__ADVERTISE: peerAddress };
  node.start([leader]);
  await eventually("the cluster that takes it in", async () => {
    const answer = await fetch(`${node.origin}/api/cluster`).catch(() => null);
    return answer && (await answer.json()).cluster_id !== "";
  });
  await dashboard.open(node, "#/queues");
  await expect(dashboard.strip).toContainText("nothing of the cluster's log is here yet");
  await expect(dashboard.main).toContainText("it cannot tell of queues");
  await expect(dashboard.main).not.toContainText(/There are no queues|0 queues/);
  await dashboard.open(node, "#/log");
  await expect(dashboard.main).toContainText("has nothing of the log yet");
  await dashboard.open(leader, `#/log?node=${node.name}`);
  await expect(dashboard.main).toContainText("Nothing is known of the log of");
  await expect(dashboard.main.locator(".log-status")).toHaveText("");
});

test("a removal that would lose the quorum is refused, and says why", async ({ start, dashboard }) => {
  const cluster = await start(3);
  const leader = await cluster.leader();
  const [asked, dead] = await cluster.followers();
  if (!asked || !dead) throw new Error("there are followers");
  await dashboard.open(asked, "#/members");
  await dead.kill();
  await expect(row(dashboard, dead.name)).toContainText("Does not answer");
  await change(dashboard, "Remove", asked.name).click();
  await expect(dashboard.dialog).toContainText("This cannot be done.");
  await expect(dashboard.dialog).toContainText(/quorum/);
  await expect(dashboard.dialog.getByRole("button", { name: "Remove" })).toHaveCount(0);
  await dashboard.dialog.getByRole("button", { name: "Close" }).click();

  // The one that is dead can go: the two that are left are a quorum of two.
  await change(dashboard, "Remove", dead.name).click();
  await expectPlan(dashboard, {
    Voters: ["a, b, c", [leader.name, asked.name].sort().join(", ")],
    "Needed to commit": ["2", "2"],
  });
  await dashboard.dialog.getByLabel(`Type ${dead.name} to confirm`).fill(dead.name);
  await dashboard.dialog.getByRole("button", { name: "Remove" }).click();
  await expect(row(dashboard, dead.name)).toHaveCount(0);
});

test("without a quorum a plan waits for a leader, says so, and is asked for once", async ({ start, dashboard }) => {
  const cluster = await start(3);
  const [asked, ...others] = cluster.nodes;
  if (!asked) throw new Error("there are nodes");
  await dashboard.open(asked, "#/members");
  for (const node of others) await node.kill();
  await expect(dashboard.strip).toContainText("no node that answers knows a leader");
  let plans = 0;
  dashboard.page.on("request", (request) => (plans += request.url().endsWith("/api/members/plan") ? 1 : 0));
  await change(dashboard, "Remove", "b").dblclick();
  await expect(dashboard.toasts).toContainText("Waits for the members to answer, and for one to lead.");
  await expect(dashboard.dialog).toContainText("no leader is known");
  expect(plans).toBe(1);
});

test("where there is a token, a change needs it", async ({ start, dashboard }) => {
  const token = "a-token-of-this-test";
  const cluster = await start(3, { QUORATE__ADMIN__TOKEN: token });
  const [next] = await cluster.followers();
  if (!next) throw new Error("there are followers");
  dashboard.expectRefusals(401, 403);
  await dashboard.open(next, "#/members");
  const ask = dashboard.page.getByRole("dialog", { name: "Admin token" });

  await change(dashboard, "Make leader", next.name).click();
  await ask.getByRole("button", { name: "Cancel" }).click();
  await expect(dashboard.toasts).toContainText("the admin token was not given");
  expect((await cluster.leader()).name).not.toBe(next.name);

  await change(dashboard, "Make leader", next.name).click();
  await ask.getByLabel("Admin token").fill("a-wrong-token");
  await ask.getByLabel("Admin token").press("Enter");
  await expect(ask).toContainText("This token is not the right one.");
  await ask.getByLabel("Admin token").fill(token);
  await ask.getByLabel("Admin token").press("Enter");
  await expectPlan(dashboard, { Leader: [(await cluster.leader()).name, next.name] });
  await dashboard.dialog.getByRole("button", { name: "Make leader" }).click();
  await dashboard.expectLeader(next.name);
  // It is kept where only this tab finds it.
  expect(await dashboard.page.evaluate(() => JSON.stringify({ ...localStorage }))).not.toContain(token);
  expect(dashboard.page.url()).not.toContain(token);
});

/**
 * @param {Dashboard} dashboard
 * @param {string} name
 */
function row(dashboard, name) {
  return dashboard.main.getByRole("row").filter({ has: dashboard.page.getByText(name, { exact: true }) });
}

/**
 * @param {Dashboard} dashboard
 * @param {"Make leader" | "Promote" | "Remove"} action
 * @param {string} name
 */
function change(dashboard, action, name) {
  return dashboard.main.getByRole("button", { name: `${action} ${name}`, exact: true });
}

/**
 * The dialog that is open shows what would be before and after.
 * @param {Dashboard} dashboard
 * @param {Record<string, [string, string]>} expected
 */
async function expectPlan(dashboard, expected) {
  for (const [label, [before, after]] of Object.entries(expected)) {
    const line = dashboard.dialog
      .getByRole("row")
      .filter({ has: dashboard.page.getByRole("rowheader", { name: label }) });
    await expect(line.getByRole("cell").nth(0)).toHaveText(before);
    await expect(line.getByRole("cell").nth(1)).toHaveText(before === after ? after : `${after} (changes)`);
  }
}

/**
 * A node that has an id and is no member: it has looked for a cluster where nobody is.
 * @param {Cluster} cluster
 */
async function newcomer(cluster) {
  const node = await cluster.place();
  node.start([await cluster.nobody()]);
  const id = await eventually("the id of the newcomer", () => /is node d \(([0-9a-f]{16})\)/.exec(node.told())?.[1]);
  await node.kill();
  return { node, id };
}
