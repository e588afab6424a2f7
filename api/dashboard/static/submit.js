// Checks a sweep on the server, and submits it through the REST API; writes the first sweep of a chosen trainer.
import { refresh } from "./live.js";

const form = document.getElementById("submit");
const plan = document.getElementById("plan");
const YAML = { "Content-Type": "application/yaml" };

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = event.submitter ?? form.querySelector("button");
  button.disabled = true;
  try {
    await (button.value === "no" ? submit() : check());
  } catch {
    showProblems(["The service cannot be reached now."]);
  } finally {
    button.disabled = false;
  }
});

const choice = document.getElementById("trainer");
const edited = new Map();
let written = choice?.value;

choice?.addEventListener("change", async () => {
  const wanted = choice.value;
  const url = new URL(location.href);
  if (wanted) url.searchParams.set("trainer", wanted); else url.searchParams.delete("trainer");
  edited.set(written, form.elements.yaml.value);
  const arrived = await refresh({ url });
  if (choice.value !== wanted) return; // another one was chosen meanwhile
  if (!arrived) {
    choice.value = written;
    showProblems(["The service cannot be reached now."]);
    return;
  }
  written = wanted;
  history.replaceState(null, "", url);
  if (edited.has(written)) form.elements.yaml.value = edited.get(written);
});

async function check() {
  const response = await fetch("/submit/plan", { method: "POST", headers: YAML, body: form.elements.yaml.value });
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  plan.replaceChildren(...document.importNode(page.body, true).childNodes);
}

async function submit() {
  const key = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const response = await fetch("/v1/sweeps", {
    method: "POST", headers: { ...YAML, "Idempotency-Key": key }, body: form.elements.yaml.value,
  });
  const answer = await response.json();
  if (response.ok) location.href = `/sweeps/${answer.id}`;
  else showProblems(answer.errors?.length ? answer.errors.map((field) => `${field.path}: ${field.message}`) : [answer.detail]);
}

function showProblems(lines) {
  plan.replaceChildren(...lines.map((line) => {
    const element = document.createElement("p");
    element.className = "trouble";
    element.textContent = line;
    return element;
  }));
}
