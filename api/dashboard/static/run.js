// Refreshes a run's page while the run is open; its output follows the end unless the reader has scrolled up.
import { refresh } from "./live.js";
import { redrawFigures, watchFigures } from "./figures.js";

watchFigures();
const head = document.getElementById("head");
const log = document.getElementById("log");
let follows = true;

function showEnd() {
  if (log && follows) log.scrollTop = log.scrollHeight;
}

if (log) {
  log.addEventListener("scroll", () => { follows = log.scrollHeight - log.scrollTop - log.clientHeight < 12; });
  new MutationObserver(showEnd).observe(log, { childList: true });
  showEnd();
}

let living = head.dataset.living === "yes";
const timer = setInterval(async () => {
  if (!living) clearInterval(timer); // once more after the end: the last output may come after it
  if (document.hidden) return;
  await refresh();
  living = head.dataset.living === "yes";
  await redrawFigures();
}, log ? 2000 : 3000);
