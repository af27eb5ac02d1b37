// Runs before anything is drawn, so that a page that is kept dark never flashes light.

try {
  const theme = localStorage.getItem("theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset["theme"] = theme;
} catch {
  // A browser that keeps nothing for this page follows the system.
}
