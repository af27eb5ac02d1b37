// Every page, light and dark, on a telephone and on a wide screen: it fits, nothing lies over anything, and axe finds
// nothing. The pictures are for people.

import { expect, test } from "./support/dashboard.js";
import { expectAccessible, expectGoodLayout, shoot } from "./support/looks.js";

/** @import { Dashboard } from "./support/dashboard.js" */

const WIDTHS = [360, 768, 1280, 1920];
const THEMES = /** @type {const} */ (["light", "dark"]);

/** axe looks at these: what it finds depends on the width only where the page is laid out in another way. */
const WIDTHS_OF_AXE = [360, 1280];

/** @type {{ name: string, hash: string, prepare?: (dashboard: Dashboard) => Promise<void> }[]} */
const PAGES = [
  { name: "cluster", hash: "#/cluster" },
  { name: "log", hash: "#/log", prepare: (dashboard) => dashboard.rows.filter({ hasText: "traced" }).click() },
  { name: "log-of-two", hash: "#/log?left=a&right=b" },
  { name: "events", hash: "#/events" },
  { name: "queues", hash: "#/queues" },
  { name: "queue", hash: "#/queue?name=orders" },
  { name: "members", hash: "#/members" },
  { name: "alarms", hash: "#/cluster" },
];

for (const { name, hash, prepare } of PAGES)
  test(`${name}: it fits and can be read`, async ({ start, dashboard }) => {
    test.slow();
    const cluster = await start(3, { QUORATE__ADMIN__TRACE_URL: "https://traces.example/{trace_id}" });
    const { page } = dashboard;
    const commands = ["orders", "mail", "thumbnails", "billing.retry"].flatMap((queue) =>
      Array.from({ length: 40 }, (_, place) => `enqueue ${queue} '{"order":${place},"item":"pizza"}'`),
    );
    await cluster.run(["repl"], { input: commands.join("\n") });
    await cluster.run(["enqueue", "orders", "traced"], {
      trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    });
    const [asked] = await cluster.followers();
    if (!asked) throw new Error("there are followers");
    if (name === "alarms") await Promise.all(cluster.nodes.filter((node) => node !== asked).map((node) => node.kill()));
    await dashboard.open(asked, hash);
    if (name === "alarms") await expect(dashboard.strip).toContainText("either the quorum is lost");
    else await expect(dashboard.value("Commits")).not.toHaveText("–");
    await page.evaluate(() => document.fonts.ready);
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: width < 700 ? 780 : 900 });
      if (width === WIDTHS[0]) await prepare?.(dashboard);
      for (const colorScheme of THEMES) {
        await page.emulateMedia({ colorScheme });
        await shoot(page, `${name}-${width}-${colorScheme}`);
        if (WIDTHS_OF_AXE.includes(width)) await expectAccessible(page);
      }
      await expectGoodLayout(page);
    }
  });
