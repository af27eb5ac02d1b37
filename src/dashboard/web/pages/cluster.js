// Whether the cluster is well, and if not, where.

import { h } from "../lib/dom.js";

/** @import { App } from "../lib/types.js" */

export const title = "Cluster";

/**
 * @param {HTMLElement} root
 * @param {App} _app
 */
export function mount(root, _app) {
  root.append(h("h1", null, "Cluster"));
}
