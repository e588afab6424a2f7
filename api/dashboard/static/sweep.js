// A sweep's page: follows its events, and sends pause, resume, stop and cancel to the REST API.
import { keepAnchor } from "./anchor.js";
import { refresh, throttled } from "./live.js";
import { narrowFigure, redrawFigures, watchFigures } from "./figures.js";

const page = document.getElementById("sweep");
const head = document.getElementById("head");
const live = document.getElementById("live");
const trouble = document.getElementById("trouble");
const api = `/v1/sweeps/${page.dataset.sweep}`;

const update = throttled(() => refresh(), 1000);
const redrawSoon = throttled(() => redrawFigures(), 1500);
const redrawLater = throttled(() => redrawFigures(), 4000);
const redrawCurves = throttled(() => redrawFigures("/losses"), 4000);
const REDRAW = { sweep: redrawSoon, batch: redrawSoon, workers: redrawSoon, law: redrawSoon, run: redrawLater, progress: redrawCurves, comparison: redrawSoon, revision: redrawSoon, run_change: redrawSoon, notice: () => {}, trainer: () => {} };

watchFigures();
keepAnchor();
if (head.dataset.living === "yes") follow(page.dataset.lastEvent);
setInterval(() => { if (!document.hidden) update(); }, 30_000);

function follow(last) {
  const source = new EventSource(`${api}/events?after=${last}`);
  live.hidden = false;
  source.onopen = () => show(true);
  source.onerror = () => {
    show(false);
    if (source.readyState === EventSource.CLOSED) setTimeout(() => follow(last), 5000);
  };
  for (const [kind, redraw] of Object.entries(REDRAW)) {
    source.addEventListener(kind, (event) => {
      last = event.lastEventId || last;
      update();
      redraw();
    });
  }
  source.addEventListener("end", () => {
    source.close();
    live.hidden = true;
    update();
    redrawSoon();
  });
}

function show(on) {
  live.dataset.on = on ? "yes" : "no";
  live.textContent = on ? "live" : "reconnecting";
}

const WARNINGS = {
  ...(head.dataset.programs === "yes" && {
    pause: ["Pause this sweep?", "Running programs are asked to save, and ended. When the sweep resumes they go on from their checkpoint, or from their first token if the registration declares no resume."],
  }),
  stop: ["Stop this sweep?", "Running runs finish, no new ones start, and a stopped sweep cannot be resumed. Its results are kept."],
  cancel: ["Cancel this sweep?", "Running runs are killed at once, and a cancelled sweep cannot be resumed. Finished runs are kept."],
};

page.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-verb]");
  if (!button) return;
  const verb = button.dataset.verb;
  if (verb in WARNINGS && !(await confirmed(verb))) return;
  button.disabled = true;
  trouble.hidden = true;
  const problem = await post(verb);
  button.disabled = false;
  if (problem) {
    trouble.textContent = problem;
    trouble.hidden = false;
  }
  refresh();
});

page.addEventListener("change", (event) => {
  const select = event.target.closest("select[data-narrows]");
  if (!select) return;
  for (const same of document.querySelectorAll(`select[name="${select.name}"]`)) same.value = select.value;
  for (const name of select.dataset.narrows.split(" ")) narrowFigure(document.querySelector(`#${name} [data-figure]`), narrowed(name));
});

/** All choices of a figure as one query; a choice of cells already is one. */
function narrowed(name) {
  const query = new URLSearchParams();
  for (const { name: field, value } of document.querySelectorAll(`#${name} select[data-narrows]`)) {
    for (const [key, wanted] of field === name ? new URLSearchParams(value) : [[field, value]]) {
      if (wanted) query.set(key, wanted);
    }
  }
  return query.toString();
}

const change = document.querySelector("form[data-patch]");
change?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const words = document.getElementById("change-trouble");
  const patch = patchOf(change);
  let problem = "Nothing was changed.";
  if (Object.keys(patch).length) {
    problem = await send("", { method: "PATCH", body: JSON.stringify(patch), headers: { "Content-Type": "application/merge-patch+json", "If-Match": `"${change.dataset.revision}"` } });
    if (!problem) { location.reload(); return; }
  }
  words.textContent = problem;
  words.hidden = false;
});

/** A JSON merge patch of the fields that were changed; an empty one is null. */
function patchOf(form) {
  const patch = {};
  for (const input of form.querySelectorAll("input")) {
    if (input.value.trim() === input.defaultValue) continue;
    const names = input.name.split(".");
    const last = names.pop();
    const within = names.reduce((fields, name) => (fields[name] ??= {}), patch);
    const more = input.value.split(/[,;\s]+/).filter(Boolean);
    within[last] = input.name === "grid.tokens" ? [...form.dataset.tokens.split(" ").map(Number), ...more] : input.value.trim() || null;
  }
  const target = patch.target && [...form.querySelectorAll("input[name^='target.']")];
  if (target?.every((input) => !input.value.trim())) patch.target = null;
  return patch;
}

/** Call the API; returns the problem's detail, or null. */
function post(verb) {
  return send(`/${verb}`, { method: "POST" });
}

async function send(path, request) {
  try {
    const response = await fetch(api + path, request);
    return response.ok ? null : (await response.json()).detail;
  } catch {
    return "The service cannot be reached now.";
  }
}

function confirmed(verb) {
  const dialog = document.getElementById("confirm");
  const [title, text] = WARNINGS[verb];
  document.getElementById("confirm-title").textContent = title;
  document.getElementById("confirm-text").textContent = text;
  document.getElementById("confirm-yes").textContent = title.split(" ")[0] + " it";
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
