// The page of a node in a browser, and the test that it is opened in. Whatever the browser complains of, whatever a
// page asks of somebody else, and whatever dialog a script opens fails the test.

import { expect, test as base } from "@playwright/test";

import { Cluster } from "./cluster.js";

/** @import { Fixtures as PlaywrightFixtures, Page, PlaywrightTestArgs } from "@playwright/test" */
/** @import { Node, Settings } from "./cluster.js" */

/** What Chromium writes when a request is answered with an error, which a test may have asked for. */
const REFUSED = /^Failed to load resource: the server responded with a status of (\d+)/;

/** Directives of the policy without which some text could become code, or something could leave. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
];

export class Dashboard {
  /** @type {Set<string>} Origins of nodes that the test has opened. */
  #origins = new Set();
  /** @type {Set<number>} */
  #refusals = new Set();
  /** @type {string[]} What must not be. */
  complaints = [];

  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    this.strip = page.locator("#strip");
    this.main = page.locator("#main");
    this.dialog = page.getByRole("dialog");
    this.toasts = page.locator("#toasts");
    page.on("console", (message) => {
      const status = REFUSED.exec(message.text())?.[1];
      if (status && this.#refusals.has(Number(status))) return;
      if (["error", "warning", "assert"].includes(message.type()))
        this.complaints.push(`console ${message.type()}: ${message.text()} (${message.location().url})`);
    });
    page.on("pageerror", (error) => this.complaints.push(`uncaught: ${error.stack ?? error.message}`));
    page.on("dialog", (dialog) => {
      this.complaints.push(`a dialog of a script: ${dialog.message()}`);
      dialog.dismiss().catch(() => {});
    });
    page.on("popup", (popup) => this.complaints.push(`a window: ${popup.url()}`));
    page.on("websocket", (socket) => this.complaints.push(`a web socket to ${socket.url()}`));
    page.context().on("request", (request) => this.#onRequest(request.url()));
  }

  /** @param {string} url */
  #onRequest(url) {
    const { origin, protocol } = new URL(url);
    if (protocol !== "data:" && !this.#origins.has(origin)) this.complaints.push(`a request to ${url}`);
  }

  /**
   * Opens a page of a node, and waits until the node has told of the cluster.
   * @param {Node} node
   * @param {string} hash Such as `#/log?node=...`.
   */
  async open(node, hash = "#/cluster") {
    this.#origins.add(node.origin);
    const answer = await this.page.goto(`${node.origin}/${hash}`);
    // Only the hash differs from what is open: the browser has asked nobody.
    if (answer) {
      const headers = answer.headers();
      for (const directive of POLICY) expect(headers["content-security-policy"]).toContain(directive);
      expect(headers["x-content-type-options"]).toBe("nosniff");
    }
    await this.ready();
  }

  /** The node has told of the cluster, and the page of this address is there. */
  async ready() {
    await expect(this.strip.getByText("live", { exact: true })).toBeAttached();
    await expect(this.main.getByRole("heading", { level: 1 })).toBeVisible();
  }

  /**
   * The test has something refused with this status, of which the browser writes a line.
   * @param {number[]} statuses
   */
  expectRefusals(...statuses) {
    for (const status of statuses) this.#refusals.add(status);
  }

  /** Another page in the same browser, which fails the test for the same reasons. */
  async another() {
    const other = new Dashboard(await this.page.context().newPage());
    other.complaints = this.complaints;
    return other;
  }

  /**
   * A value of the strip.
   * @param {string} label
   */
  value(label) {
    const title = this.page.locator(".label").getByText(label, { exact: true });
    return this.strip.locator(".strip > div").filter({ has: title }).locator(".value");
  }

  /**
   * The strip says who leads.
   * @param {string | RegExp | null} name Null: nobody does.
   * @param {{ timeout?: number }} [how]
   */
  async expectLeader(name, how = {}) {
    const words = name ?? "– no node that answers knows a leader";
    await expect(this.value("Leader")).toHaveText(words, { ...how, useInnerText: true });
  }

  /** @param {string} name Of a node, on the page of the cluster. */
  card(name) {
    return this.main.getByRole("article", { name, exact: true });
  }

  /** What is on the screen of a long table, in no order: its rows are used again and again. */
  get rows() {
    return this.main.locator(".vt-row:not([hidden]):not(.loading)");
  }

  /**
   * The row at a place of a long table.
   * @param {number} place
   */
  row(place) {
    return this.main.locator(`.vt-row[data-place="${place}"]:not([hidden]):not(.loading)`);
  }
}

/**
 * @typedef {object} Fixtures
 * @property {(size: number, settings?: Settings) => Promise<Cluster>} start Starts a cluster for this test alone.
 * @property {Dashboard} dashboard
 */
/** @typedef {{ shared: Cluster }} WorkerFixtures Three nodes for all tests of a worker that leave them whole. */

export const test = base.extend(
  /** @type {PlaywrightFixtures<Fixtures, WorkerFixtures, PlaywrightTestArgs, {}>} */ ({
    start: async ({}, use, info) => {
      /** @type {Cluster[]} */
      const clusters = [];
      await use(async (size, settings) => {
        const cluster = new Cluster(settings);
        clusters.push(cluster);
        await cluster.start(size);
        return cluster;
      });
      if (info.status !== info.expectedStatus)
        for (const node of clusters.flatMap((cluster) => cluster.nodes))
          console.log(`---- the end of what node ${node.name} told ----\n${node.told()}`);
      await Promise.all(clusters.map((cluster) => cluster.end()));
    },
    shared: [
      async ({}, use) => {
        const cluster = new Cluster();
        try {
          await cluster.start(3);
          await use(cluster);
        } finally {
          await cluster.end();
        }
      },
      { scope: "worker" },
    ],
    dashboard: async ({ page }, use) => {
      const dashboard = new Dashboard(page);
      await use(dashboard);
      expect(dashboard.complaints, "what the browser complained of, or what left the page").toEqual([]);
    },
  }),
);

export { expect };
