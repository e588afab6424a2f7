// Sends retry, exclude and include to the REST API, and refreshes a run's page while the run is open; its output follows the end unless the reader has scrolled up.
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

const trouble = document.getElementById("trouble");
const dialog = document.getElementById("exclusion");

head.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-verb]");
  if (!button) return;
  const verb = button.dataset.verb;
  const body = verb === "exclude" ? await asked() : {};
  if (!body) return;
  button.disabled = true;
  const problem = await post(verb, body);
  if (!problem) { location.reload(); return; }
  button.disabled = false;
  trouble.textContent = problem;
  trouble.hidden = false;
});

/** The reason of an exclusion; null if the reader thinks better of it. */
function asked() {
  const reason = document.getElementById("exclusion-reason");
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes" ? { reason: reason.value } : null), { once: true });
  });
}

/** Call the API; returns the problem's detail, or null. */
async function post(verb, body) {
  const run = head.querySelector("[data-run]").dataset.run;
  try {
    const response = await fetch(`/v1/runs/${run}/${verb}`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
    return response.ok ? null : (await response.json()).detail;
  } catch {
    return "The service cannot be reached now.";
  }
}

let living = head.dataset.living === "yes";
const timer = setInterval(async () => {
  if (!living) clearInterval(timer); // once more after the end: the last output may come after it
  if (document.hidden) return;
  await refresh();
  living = head.dataset.living === "yes";
  await redrawFigures();
}, log ? 2000 : 3000);
