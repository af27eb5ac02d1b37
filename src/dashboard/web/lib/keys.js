// Keys that the page itself has, such as 1 to 5 for its pages.

/**
 * Whether a key was pressed for the page: not while something is typed or a dialog is open, not for the browser, and not
 * where somebody has taken it already.
 * @param {KeyboardEvent} event
 */
export function isForPage(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return false;
  const target = event.target instanceof HTMLElement ? event.target : null;
  return !target?.closest("input, textarea, select, dialog[open]") && !target?.isContentEditable;
}
