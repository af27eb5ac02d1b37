// Dialogs and toasts. A dialog is the browser's own: it holds the focus, Escape closes it, and the focus returns
// afterwards.

import { h, replace, text } from "./dom.js";

/** @import { App } from "./types.js" */
/** @typedef {import("./dom.js").Child} Child */

const TOAST_MS = 6000;
const TOASTS_MAX = 4;

/**
 * @typedef {object} DialogOptions
 * @property {Child} title Names what the dialog is about.
 * @property {Child} content
 * @property {string} [confirm] Word of the button that goes on; without it there is only "Close".
 * @property {boolean} [danger]
 * @property {(signal: AbortSignal) => Promise<void> | void} [action] Runs on confirmation. The dialog stays, and shows
 *   why, when it throws. The signal is aborted when the dialog is closed meanwhile.
 * @property {App["toast"]} [toast] Tells that the action failed where the dialog is closed by then.
 * @property {boolean} [stops] The action goes in steps and heeds the signal: meanwhile there is "Stop". Without it, what
 *   was sent cannot be taken back: there is "Close", which leaves it to go on.
 */

/**
 * An open dialog.
 * @typedef {object} Dialog
 * @property {HTMLDialogElement} node
 * @property {(enabled: boolean) => void} enable Whether it can be confirmed.
 * @property {() => void} close
 * @property {Promise<boolean>} closed True: confirmed, and done.
 */

/**
 * @param {DialogOptions} options
 * @returns {Dialog}
 */
export function openDialog({ title, content, confirm, danger = false, action, toast, stops = false }) {
  const heading = h("h2", { id: `dialog-${crypto.getRandomValues(new Uint32Array(1))[0]}` }, title);
  const problem = h("p", { class: "problem", role: "alert" });
  const cancel = h("button", { type: "button", onclick: () => node.close() }, confirm ? "Cancel" : "Close");
  const go = confirm ? h("button", { type: "submit", class: ["primary", danger && "danger"] }, confirm) : null;
  const form = h("form", { method: "dialog" }, heading, content, problem, h("div", { class: "buttons" }, cancel, go));
  const node = h("dialog", { "aria-labelledby": heading.id }, form);
  const closing = new AbortController();
  let enabled = true;
  let done = false;

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (!go) return node.close();
    if (go.disabled) return;
    text(problem, "");
    go.disabled = true;
    form.setAttribute("aria-busy", "true");
    text(cancel, stops ? "Stop" : "Close");
    try {
      await action?.(closing.signal);
      done = true;
      node.close();
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      if (node.open) text(problem, why);
      else toast?.(`${heading.textContent}: ${why}`, "bad");
    } finally {
      go.disabled = !enabled;
      text(cancel, "Cancel");
      form.removeAttribute("aria-busy");
    }
  });
  const closed = new Promise((/** @type {(done: boolean) => void} */ resolve) => {
    node.addEventListener("close", () => {
      closing.abort();
      node.remove();
      resolve(done);
    });
  });
  document.body.append(node);
  node.showModal();
  return {
    node,
    closed,
    close: () => node.close(),
    enable: (value) => {
      enabled = value;
      if (go) go.disabled = !value;
    },
  };
}

/** Ends all dialogs as if they had been cancelled: they are about the page that is left. */
export function closeDialogs() {
  for (const node of document.querySelectorAll("dialog")) node.close();
}

/**
 * Asks for the admin token. Null: the asker changed their mind.
 * @param {string} why
 * @returns {Promise<string | null>}
 */
export async function askForToken(why) {
  const field = h("input", { type: "password", autocomplete: "off", required: true, spellcheck: "false" });
  const content = [
    h("p", null, why),
    h("label", { class: "field" }, h("span", null, "Admin token (setting admin.token)"), field),
    h("p", { class: "muted" }, "It is kept in this tab until the tab is closed."),
  ];
  const dialog = openDialog({ title: "Admin token", content, confirm: "Go on" });
  field.focus();
  return (await dialog.closed) ? field.value : null;
}

/**
 * @param {Element} host
 * @param {string} words
 * @param {"good" | "warn" | "bad"} level
 */
export function toast(host, words, level) {
  const node = h("div", { class: "toast", "data-level": level }, words);
  host.append(node);
  while (host.childElementCount > TOASTS_MAX) host.firstElementChild?.remove();
  setTimeout(() => node.remove(), TOAST_MS);
}

/**
 * The dialog that tells what keys there are.
 * @param {[string, [string, string][]][]} groups
 */
export function openHelp(groups) {
  const content = h("div", { class: "stack" });
  replace(content, ...groups.map(([title, keys]) => h("section", null, h("h3", null, title), keyTable(keys))));
  openDialog({ title: "Keys", content });
}

/** @param {[string, string][]} keys */
function keyTable(keys) {
  const rows = keys.map(([key, does]) =>
    h("tr", null, h("td", { class: "nowrap" }, keyCaps(key)), h("td", null, does)),
  );
  return h("table", { class: "plain" }, h("tbody", null, rows));
}

/** @param {string} keys Apart by spaces. */
const keyCaps = (keys) => keys.split(" ").map((key, place) => [place > 0 && " ", h("kbd", null, key)]);
