// Keeps the section that an address or a link names in its place while figures above it arrive, until the reader moves on.

let held = "";

/** Hold what the address names now, and what later links of the page name. */
export function keepAnchor() {
  const [visit] = performance.getEntriesByType("navigation");
  if (visit?.type === "navigate") hold(location.hash); // who reloads or comes back is put where they were
  for (const kind of ["wheel", "touchmove", "pointerdown", "keydown", "focusin"]) {
    addEventListener(kind, () => { held = ""; }, { passive: true, capture: true });
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (link) hold(link.hash);
  });
  addEventListener("hashchange", () => hold(location.hash));
  new ResizeObserver(settle).observe(document.querySelector("main"));
}

function hold(hash) {
  held = decodeURIComponent(hash.slice(1));
}

function settle() {
  if (held) document.getElementById(held)?.scrollIntoView({ block: "start", behavior: "instant" });
}
