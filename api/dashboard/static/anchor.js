// Keeps the section named in the address at the top while figures above it load, until the reader scrolls.

let held = "";

/** Hold the section in the address, and those of links followed later. */
export function keepAnchor() {
  const [visit] = performance.getEntriesByType("navigation");
  if (visit?.type === "navigate") hold(location.hash); // on reload and back, the browser restores the scroll position
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
