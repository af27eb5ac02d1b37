// What an operator sees while nodes die: the election, who leads, and who is silent, with or without a quorum.

import { expect, test } from "./support/dashboard.js";
import { expectAccessible, expectGoodLayout, shoot } from "./support/looks.js";

/** From the death of the leader until the page shows the next one. */
const SHOWN_WITHIN_MS = 3000;

test("the leader dies: the page shows the election, the next leader, and the dead one as stale", async ({
  start,
  dashboard,
}) => {
  const cluster = await start(3);
  const leader = await cluster.leader();
  const [witness] = await cluster.followers();
  if (!witness) throw new Error("there are followers");
  await dashboard.open(witness);
  await dashboard.expectLeader(leader.name);
  const events = await dashboard.another();
  await events.open(witness, "#/events");

  const killed = performance.now();
  await leader.kill();
  await dashboard.expectLeader(new RegExp(`^[^–${leader.name}]$`), { timeout: SHOWN_WITHIN_MS });
  const next = (await dashboard.value("Leader").innerText()).trim();
  await expect(dashboard.card(next)).toContainText("Leader");
  await expect(dashboard.card(leader.name)).toContainText("Does not answer");
  const shown = performance.now() - killed;
  await expect(events.main.getByText(/becomes leader of term \d+/).last()).toBeVisible();
  await expect(events.main).toContainText(new RegExp(`${next}\\s.*becomes leader of term`, "s"));
  const told = performance.now() - killed;
  console.log(`from the kill to the page: ${Math.round(shown)} ms, to the event: ${Math.round(told)} ms`);
  expect(told).toBeLessThan(SHOWN_WITHIN_MS);

  const age = async () => Number(/Last seen (\d+) s ago/.exec(await dashboard.card(leader.name).innerText())?.[1]);
  await expect.poll(age, "the age of what it last said").toBeGreaterThanOrEqual(1);
  const before = await age();
  await expect.poll(age, "an age that grows").toBeGreaterThan(before);
  await expect(dashboard.strip).toContainText("2 of 3 voters, tolerates no failure");

  leader.start([witness]);
  await expect(dashboard.card(leader.name)).toContainText("Follower");
  await expect(dashboard.strip).toContainText("3 of 3 voters, tolerates 1 failure");
  await expect(dashboard.strip).not.toContainText("does not answer");
});

test("the node of the page is silent: what was so is not shown as what is, until the node is back", async ({
  start,
  dashboard,
}) => {
  const cluster = await start(3);
  const [asked] = await cluster.followers();
  if (!asked) throw new Error("there are followers");
  const verdict = dashboard.strip.locator(".verdict");
  const card = dashboard.card(asked.name);
  await dashboard.page.setViewportSize({ width: 360, height: 780 });
  await dashboard.open(asked);
  await expect(verdict).toHaveAttribute("data-level", "good");
  await expect(card).toContainText("Healthy");
  await expect(dashboard.strip.locator(".age")).toBeHidden();

  asked.freeze();
  await expect(verdict).toContainText(/unknown since \d\d:\d\d:\d\d, was: 3 of 3 voters, tolerates 1 failure/);
  await expect(verdict).toHaveAttribute("data-level", "unknown");
  await expect(dashboard.value("Alarms")).toHaveText("was: none");
  await expect(dashboard.strip).toContainText(/All of this was so at/);
  await expect(dashboard.strip.locator(".age")).toContainText(/\d s old/);
  await expect(card).not.toContainText("Healthy");
  await expect(card).toContainText("These are its last values.");
  await expectGoodLayout(dashboard.page);
  for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
    await dashboard.page.emulateMedia({ colorScheme });
    await shoot(dashboard.page, `silent-360-${colorScheme}`);
    await expectAccessible(dashboard.page);
  }

  asked.thaw();
  await expect(verdict).toContainText(/^Quorum3 of 3 voters, tolerates 1 failure$/);
  await expect(verdict).toHaveAttribute("data-level", "good");
  await expect(dashboard.value("Alarms")).toHaveText("none");
  await expect(card).toContainText("Healthy");
});

test("two of three are dead: the page says that there is no quorum, also when it is opened then", async ({
  start,
  dashboard,
}) => {
  const cluster = await start(3);
  await cluster.run(["enqueue", "orders", "one pizza"]);
  const leader = await cluster.leader();
  const [witness, other] = await cluster.followers();
  if (!witness || !other) throw new Error("there are followers");
  await dashboard.open(witness);
  await leader.kill();
  await other.kill();
  for (const reloaded of [false, true]) {
    if (reloaded) {
      await dashboard.page.reload();
      await dashboard.ready();
    }
    await expect(dashboard.strip).toContainText("1 of 3 voters, 2 needed: 1 is missing");
    await expect(dashboard.strip).toContainText("either the quorum is lost");
    await dashboard.expectLeader(null);
    await expect(dashboard.main).toContainText(`Nobody leads. ${witness.name} asks for pre-votes in term `);
    await expect(dashboard.card(witness.name)).not.toContainText("Does not answer");
    for (const { name } of [leader, other]) {
      await expect(dashboard.card(name)).toContainText("Does not answer");
      await expect(dashboard.card(name)).toContainText(reloaded ? /Last seen|never answered/ : "Last seen");
    }
  }
  // What this node has is still shown, and what it cannot know is said.
  await dashboard.open(witness, `#/log?node=${witness.name}`);
  await expect(dashboard.rows.filter({ hasText: "one pizza" })).toBeVisible();
  dashboard.expectRefusals(502, 503, 504);
  for (const page of ["events", "queues", "members", `log?node=${other.name}`]) {
    await dashboard.open(witness, `#/${page}`);
    await expect(dashboard.main.getByRole("heading", { level: 1 })).toBeVisible();
  }
});

test("a file that does not come is asked for again, without a reload", async ({ shared, dashboard }) => {
  const [node] = shared.nodes;
  if (!node) throw new Error("there are nodes");
  const { page, main } = dashboard;
  dashboard.expectRefusals(404, 503);
  await shared.run(["enqueue", "drawn", "a"]);
  for (const file of ["pages/members.js", "pages/queues.css", "vendor/uplot/uPlot.esm.js"])
    await page.route(`**/${file}`, (route) => route.fulfill({ status: 503 }), { times: 1 });
  await dashboard.open(node);
  await page.keyboard.press("5");
  await expect(main.getByRole("heading", { name: "This page could not be loaded" })).toBeVisible();
  await page.keyboard.press("?");
  await expect(dashboard.dialog).toBeVisible();
  await expect(main.locator("h1", { hasText: "Members" })).toBeVisible();
  await expect(dashboard.dialog, "nobody has left the page").toBeVisible();
  await page.goBack();
  await expect(dashboard.dialog, "it is left now").toBeHidden();
  await dashboard.open(node, "#/queue?name=drawn");
  await expect(main.locator("canvas")).toHaveCount(2);
  const sheets = () => page.evaluate(() => [...document.styleSheets].map(({ href }) => href?.split("/").at(-1)));
  expect(await sheets()).toEqual(expect.arrayContaining(["queues.css", "content.css", "uPlot.min.css"]));
  // The page writes why to the console.
  dashboard.complaints = dashboard.complaints.filter(
    (words) => !/^console warning: .*(imported module|queues\.css could not)/.test(words),
  );
});
