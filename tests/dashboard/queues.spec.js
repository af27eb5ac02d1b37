// The pages of queues: what they hold, what is in a message, and what can be changed.

import { expect, test } from "./support/dashboard.js";

test("queues are listed, ordered and found, with what they hold", async ({ shared, dashboard }) => {
  const [node] = shared.nodes;
  if (!node) throw new Error("there are nodes");
  await shared.run(["enqueue", "listed-one", "a"]);
  await shared.run(["enqueue", "listed-three", "a", "b", "c"]);
  await dashboard.open(node, "#/queues");
  await dashboard.main.getByRole("searchbox").fill("listed");
  await expect(dashboard.rows).toHaveCount(2);
  await expect(dashboard.row(0)).toContainText(/listed-one\s*1/);
  await dashboard.main.getByRole("button", { name: "Ready" }).click();
  await expect(dashboard.row(0)).toContainText(/listed-three\s*3/);
  await shared.run(["dequeue", "listed-three"]);
  await expect(dashboard.row(0), "it follows what happens").toContainText(/listed-three\s*2/);
  await dashboard.row(0).getByRole("link").click();
  await expect(dashboard.main.getByRole("heading", { level: 1 })).toContainText("listed-three");
});

test("a message is sent through the page, and shows its body and headers", async ({ shared, dashboard }) => {
  const [node] = shared.nodes;
  if (!node) throw new Error("there are nodes");
  dashboard.expectRefusals(404);
  await dashboard.open(node, "#/queue?name=sent");
  await expect(dashboard.main).toContainText(/There is no queue \W?sent\W?\. A message that is sent to it makes it\./);
  const sender = dashboard.main.getByRole("region", { name: "Send a test message" });
  await sender.getByRole("textbox", { name: "Text of the message" }).fill('{"pizza":1}');
  await sender.getByRole("button", { name: "+ Header" }).click();
  await sender.getByLabel("Name of the header").fill("kind");
  await sender.getByLabel("Value of the header").fill("test");
  await sender.getByRole("button", { name: "Send" }).click();
  const messages = dashboard.main.getByRole("region", { name: "Messages" });
  await expect(messages.getByRole("tab", { name: "Ready" })).toContainText("(1)");
  const message = messages.getByRole("listitem").first();
  await message.locator("summary").click();
  await expect(message.locator("pre")).toContainText('"pizza": 1');
  await expect(message.getByRole("row")).toContainText("kindtest");
  const [taken] = (await shared.run(["dequeue", "sent"])).split("\n");
  expect(taken).toBe('{"pizza":1}');
});

test("messages are turned over by the page", async ({ shared, dashboard }) => {
  const [node] = shared.nodes;
  if (!node) throw new Error("there are nodes");
  await shared.run(["enqueue", "many", ...Array.from({ length: 70 }, (_, place) => `message ${place}`)]);
  await dashboard.open(node, "#/queue?name=many");
  const messages = dashboard.main.getByRole("region", { name: "Messages" });
  await expect(messages.getByRole("listitem")).toHaveCount(50);
  await expect(messages.getByRole("listitem").first()).toContainText("message 0");
  await messages.getByRole("button", { name: "Next 50" }).click();
  await expect(messages.getByRole("listitem")).toHaveCount(20);
  await expect(messages.getByRole("listitem").last()).toContainText("message 69");
  await messages.getByRole("button", { name: "Back" }).click();
  await expect(messages.getByRole("listitem").first()).toContainText("message 0");
});

test("settings are changed after the page has shown what would change", async ({ shared, dashboard }) => {
  const [node] = shared.nodes;
  if (!node) throw new Error("there are nodes");
  // The node that is asked may not have applied the message yet.
  dashboard.expectRefusals(404);
  await shared.run(["enqueue", "settled", "a"]);
  await shared.run(["queue", "set", "settled", "--lease", "1h"]);
  await dashboard.open(node, "#/queue?name=settled");
  const settings = dashboard.main.getByRole("region", { name: "Settings" });
  await expect(settings).toContainText(/A lease lasts1 h(?! \d)/);
  await dashboard.main.getByRole("button", { name: "Change …" }).click();
  const save = dashboard.dialog.getByRole("button", { name: "Save" });
  await expect(save).toBeDisabled();
  await dashboard.dialog.getByLabel("Deliveries at most").fill("none");
  await expect(save).toBeDisabled();
  await dashboard.dialog.getByLabel("Deliveries at most").fill("2");
  await dashboard.dialog.getByLabel("A lease lasts").fill("3601");
  await expect(dashboard.dialog).toContainText(/A lease lasts: 1 h → *becomes 1 h 1 s/);
  await expect(dashboard.dialog).toContainText(/Deliveries at most: \d+ → *becomes 2/);
  await save.click();
  await expect(dashboard.dialog).toBeHidden();
  await expect(settings).toContainText("Deliveries at most2");
  await expect(settings).toContainText("A lease lasts1 h 1 s");
  await dashboard.page.reload();
  await dashboard.ready();
  await expect(settings).toContainText("Deliveries at most2");
});

test("a change that fails once its dialog was left is told", async ({ shared, dashboard }) => {
  const [node] = shared.nodes;
  if (!node) throw new Error("there are nodes");
  const { page, main, dialog } = dashboard;
  dashboard.expectRefusals(404, 503);
  await shared.run(["enqueue", "left", "a"]);
  let refuse = () => {};
  const isLeft = new Promise((/** @type {(value?: unknown) => void} */ resolve) => (refuse = resolve));
  await page.route("**/api/queue/settings", async (route) => {
    await isLeft;
    await route.fulfill({ status: 503, json: { error: { reason: "UNAVAILABLE", message: "nobody leads" } } });
  });
  await dashboard.open(node, "#/queues");
  await dashboard.open(node, "#/queue?name=left");
  await main.getByRole("button", { name: "Change …" }).click();
  await dialog.getByLabel("Deliveries at most").fill("2");
  await dialog.getByRole("button", { name: "Save" }).click();
  await page.goBack();
  await expect(dialog).toBeHidden();
  refuse();
  await expect(dashboard.toasts).toContainText("Settings of left: nobody leads");
});

test("a dead letter is shown with its reason, and made ready again", async ({ shared, dashboard }) => {
  const [node] = shared.nodes;
  if (!node) throw new Error("there are nodes");
  await shared.run(["enqueue", "letters", "one", "two"]);
  const leased = await shared.run(["lease", "letters", "--count", "2", "--for", "1h", "--output", "json"]);
  const [token] = leased
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line).lease_token);
  await shared.run(["reject", "letters", token, "--reason", "<b>no such order</b>"]);
  dashboard.expectRefusals(404);
  await dashboard.open(node, "#/queue?name=letters");
  const messages = dashboard.main.getByRole("region", { name: "Messages" });
  await messages.getByRole("tab", { name: "Leased" }).click();
  await expect(messages.getByRole("listitem")).toContainText(/lease ends in .*two/);
  await messages.getByRole("tab", { name: "Dead" }).click();
  await expect(messages.getByRole("listitem")).toContainText("<b>no such order</b>");
  await expect(messages.getByRole("listitem")).toContainText("one");
  await messages.getByRole("button", { name: "Redrive …" }).click();
  await expect(dashboard.dialog).toContainText("The dead message becomes ready again");
  await dashboard.dialog.getByRole("button", { name: "Redrive" }).click();
  await expect(dashboard.toasts).toContainText("1 message is ready again");
  await messages.getByRole("tab", { name: "Ready" }).click();
  await expect(messages.getByRole("listitem")).toContainText("one");
  expect(await shared.run(["dequeue", "letters"])).toContain("one");
});

test("a dialog names its queue, and goes with the page of it", async ({ shared, dashboard }) => {
  const [node] = shared.nodes;
  if (!node) throw new Error("there are nodes");
  const { page, main, dialog } = dashboard;
  dashboard.expectRefusals(401, 404);
  for (const queue of ["earlier", "later"]) await shared.run(["enqueue", queue, "a"]);
  await dashboard.open(node, "#/queue?name=earlier");
  await dashboard.open(node, "#/queue?name=later");
  await main.getByRole("button", { name: "Change …" }).click();
  await expect(dialog.getByRole("heading", { name: "Settings of later" })).toBeVisible();
  await page.goBack();
  await expect(main.getByRole("heading", { level: 1 })).toContainText("earlier");
  await expect(dialog).toBeHidden();

  const refusal = { status: 401, json: { error: { reason: "TOKEN_NEEDED", message: "it needs a token" } } };
  await page.route("**/api/queue/send", (route) => route.fulfill(refusal));
  const sender = main.getByRole("region", { name: "Send a test message" });
  await sender.getByRole("button", { name: "Send" }).click();
  await dialog.getByLabel("Admin token").fill("not of the Latin letters: 令牌");
  await dialog.getByRole("button", { name: "Go on" }).click();
  await expect(dialog).toContainText("This token is not the right one.");
  await page.goForward();
  await expect(main.getByRole("heading", { level: 1 })).toContainText("later");
  await expect(dialog).toBeHidden();
});

test("what may have been sent is not said to be unsent", async ({ shared, dashboard }) => {
  const [node] = shared.nodes;
  if (!node) throw new Error("there are nodes");
  dashboard.expectRefusals(404, 429, 504);
  await dashboard.open(node, "#/queue?name=doubt");
  const sender = dashboard.main.getByRole("region", { name: "Send a test message" });
  for (const [status, begin] of /** @type {const} */ ([
    [429, "Not sent: "],
    [504, "Perhaps sent: "],
  ])) {
    const answer = { status, json: { error: { reason: "WHY", message: "why it is so" } } };
    await dashboard.page.route("**/api/queue/send", (route) => route.fulfill(answer), { times: 1 });
    await sender.getByRole("button", { name: "Send" }).click();
    await expect(sender.getByRole("alert")).toHaveText(`${begin}why it is so`);
  }
});
