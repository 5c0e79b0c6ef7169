// Before the first paint, so that the page never flashes in the other colours.
try {
  const theme = localStorage.getItem("studio-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage may be forbidden; the system's colours serve.
}
