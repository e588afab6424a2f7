// Draws the figures of a page: fetches them when they come into view, and redraws them in place so that a zoom stays.

const dark = matchMedia("(prefers-color-scheme: dark)");
const coarse = matchMedia("(pointer: coarse)");
const plots = new Map();

const CONFIG = {
  responsive: true, displaylogo: false, displayModeBar: coarse.matches ? false : "hover",
  modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
};

const inView = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const plot = plots.get(entry.target);
    plot.visible = entry.isIntersecting;
    if (plot.visible && plot.stale) load(entry.target);
  }
}, { rootMargin: "300px" });

const width = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const plot = plots.get(target);
    if (plot.columns !== undefined && plot.columns !== columns(target)) load(target);
  }
});

/** Start drawing every figure of the page. */
export function watchFigures() {
  for (const element of document.querySelectorAll("[data-figure]")) {
    plots.set(element, { visible: false, stale: true, busy: false, figure: null, columns: undefined });
    inView.observe(element);
    width.observe(element);
  }
  dark.addEventListener("change", () => { for (const element of plots.keys()) draw(element); });
}

/** Change the query of a figure and redraw it. */
export function narrowFigure(element, query) {
  const [address] = element.dataset.figure.split("?");
  element.dataset.figure = query ? `${address}?${query}` : address;
  plots.get(element).stale = true;
  load(element);
}

/** Mark the figures (or those whose address ends in `only`) as stale: those in view are fetched now, others when they come into view. */
export function redrawFigures(only = "") {
  const old = [...plots].filter(([element]) => element.dataset.figure.endsWith(only));
  return Promise.all(old.map(([element, plot]) => {
    plot.stale = true;
    return plot.visible ? load(element) : null;
  }));
}

function columns(element) {
  if (element.clientWidth < 560) return 2;
  return element.clientWidth < 860 ? 3 : 0;
}

async function load(element) {
  const plot = plots.get(element);
  if (plot.busy) return; // the load in progress repeats if the figure became stale
  plot.busy = true;
  try {
    do {
      plot.stale = false;
      plot.figure = await fetched(element);
      await draw(element);
    } while (plot.stale && plot.visible);
  } catch (error) {
    plot.stale = true;
    if (!plot.figure) showMessage(element, `This figure could not be drawn: ${error.message}`);
  } finally {
    plot.busy = false;
  }
}

async function fetched(element) {
  const plot = plots.get(element);
  plot.columns = columns(element);
  const url = new URL(element.dataset.figure, location.href);
  if (plot.columns) url.searchParams.set("columns", plot.columns);
  const response = await fetch(url, { cache: "no-store" });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.detail);
  return answer;
}

function showMessage(element, text) {
  const line = document.createElement("p");
  line.className = "wait";
  line.textContent = text;
  element.replaceChildren(line);
}

async function draw(element) {
  const { figure } = plots.get(element);
  if (!figure) return;
  element.querySelector(":scope > .wait")?.remove();
  await Plotly.react(element, figure.data, themed(figure.layout, element.dataset.figure), CONFIG);
  element.dataset.drawn = String(Number(element.dataset.drawn || 0) + 1);
}

/** The layout in the page's colours. A zoom stays while the address `same` stays; on touch screens fingers scroll. */
function themed(layout, same) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const own = {
    ...layout, uirevision: same,
    dragmode: coarse.matches ? false : layout.dragmode,
    font: { ...layout.font, color: colour("--muted") },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--muted"), activecolor: colour("--accent") },
    hoverlabel: { ...layout.hoverlabel, bgcolor: colour("--card"), bordercolor: colour("--line"),
      font: { ...layout.hoverlabel?.font, color: colour("--text") } },
  };
  for (const name of Object.keys(own)) {
    if (/^[xy]axis\d*$/.test(name)) own[name] = { ...own[name], gridcolor: colour("--grid") };
  }
  return own;
}
