// Whether a page can be read and used: nothing wider than the window, nothing over or cut off by something else, and
// none of what axe finds.

import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { expect } from "@playwright/test";
import axe from "axe-core";

/** @import { Page } from "@playwright/test" */

const SHOTS = fileURLToPath(new URL("../../../target/dashboard/", import.meta.url));

const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"];

/** Neighbours may touch by the rounding of their edges. */
const TOUCH_PX = 2;

/**
 * A picture for people, in target/dashboard.
 * @param {Page} page
 * @param {string} name
 */
export async function shoot(page, name) {
  mkdirSync(SHOTS, { recursive: true });
  await page.screenshot({ path: `${SHOTS}${name}.png`, animations: "disabled" });
}

/**
 * @param {Page} page
 * @param {number} timeout What has just been drawn may still be on its way to its place.
 */
export async function expectGoodLayout(page, timeout = 2000) {
  const faults = () => page.evaluate(findFaults, TOUCH_PX);
  await expect.poll(faults, { message: "faults of the layout", timeout }).toEqual([]);
}

/** @param {Page} page */
export async function expectAccessible(page) {
  await page.evaluate(axe.source);
  const found = await page.evaluate(
    (values) => /** @type {any} */ (window).axe.run(document, { runOnly: { type: "tag", values } }),
    RULES,
  );
  /** @type {import("axe-core").Result[]} */
  const violations = found.violations;
  const words = violations.flatMap(({ id, help, nodes }) =>
    nodes.map((node) => `${id}: ${help}: ${node.html} (${node.any.map((check) => check.message).join("; ")})`),
  );
  expect(words, "what axe finds").toEqual([]);
}

/**
 * Runs in the page. What is wider than the window, which texts lie over each other, and which are cut off without a
 * sign of it.
 * @param {number} touch
 */
function findFaults(touch) {
  /** @type {string[]} */
  const faults = [];
  const root = document.documentElement;
  if (root.scrollWidth > innerWidth) faults.push(`the page is ${root.scrollWidth} px wide, the window ${innerWidth}`);

  /** @typedef {{ left: number, right: number, top: number, bottom: number }} Rectangle */
  /** @type {(Rectangle & { text: string, node: Node, element: Element })[]} */
  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    const text = node.textContent?.trim();
    if (!text || !element?.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
    if (element.closest("option, noscript, .toasts, dialog:not([open]), svg") || isForReadersOnly(element)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const { left, right, top, bottom } of range.getClientRects()) {
      const seen = clip({ left, right, top, bottom }, element, text);
      if (seen.right - seen.left > touch && seen.bottom - seen.top > touch)
        texts.push({ ...seen, text, node, element });
    }
  }
  texts.forEach((a, place) => {
    for (const b of texts.slice(place + 1)) {
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (a.node === b.node || wide <= touch || high <= touch + 2 || !sameLayer(a.element, b.element)) continue;
      faults.push(`${quote(a.text)} and ${quote(b.text)} lie over each other`);
    }
  });
  return [...new Set(faults)].slice(0, 20);

  /**
   * What is left of a rectangle within all that clips it.
   * @param {Rectangle} rectangle
   * @param {Element} element
   * @param {string} text
   */
  function clip(rectangle, element, text) {
    let { left, right, top, bottom } = rectangle;
    let told = false;
    for (let at = /** @type {Element | null} */ (element); at && at !== document.body; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (style.position === "fixed") break;
      if (style.overflowX === "visible" && style.overflowY === "visible") continue;
      const box = at.getBoundingClientRect();
      // The dots say that there is more, and so does what takes the focus to be scrolled. Elsewhere nothing does.
      told ||= style.textOverflow === "ellipsis" || (at instanceof HTMLElement && at.tabIndex >= 0);
      if (!told && right > box.right + touch && left < box.right)
        faults.push(`${quote(text)} is cut off by <${at.tagName.toLowerCase()} class="${at.className}">`);
      left = Math.max(left, box.left);
      right = Math.min(right, box.right);
      top = Math.max(top, box.top);
      bottom = Math.min(bottom, box.bottom);
    }
    if (!told && right > innerWidth + touch && left < innerWidth) faults.push(`${quote(text)} leaves the window`);
    return { left, right, top, bottom };
  }

  /**
   * What only screen readers are told is in a box of a pixel.
   * @param {Element} element
   */
  function isForReadersOnly(element) {
    for (let at = /** @type {Element | null} */ (element); at && at !== document.body; at = at.parentElement) {
      const { width, height } = at.getBoundingClientRect();
      if (width <= 1 && height <= 1 && getComputedStyle(at).overflowX === "hidden") return true;
    }
    return false;
  }

  /**
   * A dialog, and a head that stays while the rest scrolls below it, lie over other things on purpose.
   * @param {Element} a
   * @param {Element} b
   */
  function sameLayer(a, b) {
    return layer(a) === layer(b);
  }

  /** @param {Element} element */
  function layer(element) {
    for (let at = /** @type {Element | null} */ (element); at; at = at.parentElement) {
      const { position } = getComputedStyle(at);
      if (position === "fixed" || position === "sticky" || at.tagName === "DIALOG") return at;
    }
    return null;
  }

  /** @param {string} text */
  function quote(text) {
    return JSON.stringify(text.slice(0, 60));
  }
}
