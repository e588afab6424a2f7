// Refreshes a run's page while the run is open.
import { refresh } from "./live.js";
import { redrawFigures, watchFigures } from "./figures.js";

watchFigures();
const head = document.getElementById("head");
const timer = setInterval(async () => {
  if (head.dataset.living !== "yes") { clearInterval(timer); return; }
  if (document.hidden) return;
  await refresh();
  await redrawFigures();
}, 3000);
