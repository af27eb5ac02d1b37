// What watches over all other tests notices what it is there for.

import { expect, test } from "./support/dashboard.js";
import { expectAccessible, expectGoodLayout } from "./support/looks.js";

test("a page that complains, opens a dialog or asks somebody else would fail its test", async ({
  shared,
  dashboard,
}) => {
  const [node, other] = shared.nodes;
  if (!node || !other) throw new Error("there are three nodes");
  await dashboard.open(node);
  await dashboard.page.evaluate((elsewhere) => {
    console.warn("a warning");
    setTimeout(() => alert("a dialog"));
    setTimeout(() => Promise.reject(new Error("a rejection")));
    document.body.append(Object.assign(new Image(), { src: `${elsewhere}/x.png` }));
    try {
      document.body.insertAdjacentHTML("beforeend", "<b>markup</b>");
    } catch {
      // The policy has refused it, and told of it.
    }
  }, other.origin);
  for (const words of ["a warning", "a dialog", "a rejection", `a request to ${other.origin}/x.png`, "TrustedHTML"])
    await expect.poll(() => dashboard.complaints.join("\n")).toContain(words);
  dashboard.complaints = [];
});

test("a page that is too wide, has one text over another or cuts one off would fail its test", async ({ page }) => {
  const faults = [
    ['<p style="width: 3000px">wide</p>', "the page is 3"],
    [
      '<p style="position: absolute; left: 9px">below</p><p style="position: absolute; left: 9px">above</p>',
      "over each",
    ],
    ['<div style="width: 40px; overflow: hidden; white-space: nowrap">what is too long</div>', "is cut off"],
  ];
  for (const [content, fault] of faults) {
    await page.setContent(`<body>${content}</body>`);
    await expect(expectGoodLayout(page, 500)).rejects.toThrow(fault);
  }
  await page.setContent("<html lang=en><title>Page</title><main><h1>Page</h1><p>One</p><p>Two</p></main></html>");
  await expectGoodLayout(page);
  await expectAccessible(page);
  await page.setContent("<html lang=en><title>Page</title><main><h1>Page</h1><input></main></html>");
  await expect(expectAccessible(page)).rejects.toThrow("label");
});
