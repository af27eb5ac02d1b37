// Making nodes and patching them. Text becomes text nodes: nothing here, or anywhere, reads markup from a string.
//
// A page that is told something twice a second patches what it has: `text`, `attribute`, `show` and `list` touch the
// document only where a value has changed, so that focus, selection and scrolling survive.

/** @import { Part } from "./types.js" */
/** @typedef {Node | string | number | null | undefined | false | Child[]} Child */
/** @typedef {Object<string, unknown>} Attributes */

const SVG = "http://www.w3.org/2000/svg";

/** What stands where a number is not known. */
export const UNKNOWN = "–";

/**
 * Makes an element. `on*` are listeners, `class` is text or a list, `dataset` and `style` are objects, `value` and
 * `checked` are
 * set as properties, and an attribute that is null or false is left out.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Attributes | null} [attributes]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  equip(element, attributes ?? {});
  add(element, children);
  return element;
}

/**
 * Makes an element of a drawing; otherwise as `h`.
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag
 * @param {Attributes | null} [attributes]
 * @param {...Child} children
 * @returns {SVGElementTagNameMap[K]}
 */
export function svg(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  equip(element, attributes ?? {});
  add(element, children);
  return element;
}

/**
 * Puts `children` in the place of all that `node` holds.
 * @param {Element} node
 * @param {...Child} children
 */
export function replace(node, ...children) {
  node.replaceChildren();
  add(node, children);
}

/**
 * Changes the letters within a text node where there is one, so that a selection across it stays.
 * @param {Node} node
 * @param {string} value
 */
export function text(node, value) {
  if (node.textContent === value) return;
  const only = node.firstChild;
  if (only instanceof Text && only === node.lastChild) only.data = value;
  else node.textContent = value;
}

/**
 * Null and false take the attribute away, true leaves it empty.
 * @param {Element} node
 * @param {string} name
 * @param {string | number | boolean | null | undefined} value
 */
export function attribute(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else {
    const written = value === true ? "" : String(value);
    if (node.getAttribute(name) !== written) node.setAttribute(name, written);
  }
}

/**
 * Shows a number, or, when it is not known, a dash whose title says why; a screen reader hears the reason as well.
 * @param {HTMLElement} node
 * @param {string | null} value
 * @param {string} why Why it may be unknown, such as "the leader has not heard from it".
 */
export function show(node, value, why) {
  attribute(node, "title", value === null ? `not known: ${why}` : null);
  attribute(node, "data-unknown", value === null);
  if (value !== null) {
    text(node, value);
  } else if (node.textContent !== UNKNOWN + why) {
    replace(node, h("span", { "aria-hidden": "true" }, UNKNOWN), h("span", { class: "sr" }, why));
  }
}

/** @type {Map<string, Promise<void>>} */
const styles = new Map();

/**
 * Loads a style sheet once, and anew where that has failed.
 * @param {string} href
 * @returns {Promise<void>}
 */
export function loadStyle(href) {
  const known = styles.get(href);
  if (known) return known;
  /** @type {Promise<void>} */
  const loading = new Promise((done, fail) => {
    const onerror = () => {
      link.remove();
      styles.delete(href);
      fail(new Error(`${href} could not be loaded`));
    };
    const link = h("link", { rel: "stylesheet", href, onload: () => done(), onerror });
    document.head.append(link);
  });
  styles.set(href, loading);
  return loading;
}

/** @type {WeakMap<Element, Map<string, Part<any>>>} */
const parts = new WeakMap();

/**
 * Makes the children of `parent` be one part for each item, in this order. The part of a key stays while there is an
 * item with it.
 * @template T
 * @param {Element} parent Nothing else puts children there.
 * @param {readonly T[]} items
 * @param {(item: T) => string} key
 * @param {(item: T) => Part<T>} make
 */
export function list(parent, items, key, make) {
  const before = parts.get(parent) ?? new Map();
  const after = new Map();
  for (const item of items) after.set(key(item), before.get(key(item)) ?? make(item));
  for (const [name, part] of before) if (!after.has(name)) part.node.remove();
  let place = parent.firstElementChild;
  for (const item of items) {
    const part = after.get(key(item));
    part.update(item);
    if (place && part.node === place) place = place.nextElementSibling;
    else parent.insertBefore(part.node, place);
  }
  parts.set(parent, after);
}

/**
 * @param {HTMLElement | SVGElement} element
 * @param {Attributes} attributes
 */
function equip(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name === "style")
      for (const [property, set] of Object.entries(value)) element.style.setProperty(property, String(set));
    else if (name === "value" || name === "checked") Object.assign(element, { [name]: value });
    else if (name === "class" && Array.isArray(value)) element.setAttribute(name, value.filter(Boolean).join(" "));
    else element.setAttribute(name, value === true ? "" : String(value));
  }
}

/**
 * @param {Node} node
 * @param {Child[]} children
 */
function add(node, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) add(node, child);
    else node.appendChild(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}
