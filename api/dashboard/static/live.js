// Keeps a page current: fetches it again and replaces the regions that have changed.
// The server renders every number; this script only moves HTML.

const seen = new WeakMap();
let latest = 0;

for (const region of document.querySelectorAll("[data-live]")) seen.set(region, region.innerHTML);

/** Fetch the page again and update its live regions (only `only`, an id, if given). */
export async function refresh({ url = location.href, only = null } = {}) {
  const turn = ++latest;
  let response;
  try {
    response = await fetch(url, { headers: { Accept: "text/html" }, cache: "no-store" });
  } catch {
    return false; // the server cannot be reached; the next event or tick tries again
  }
  if (response.redirected && new URL(response.url).pathname === "/login") location.reload();
  if (!response.ok && response.status !== 422) return false;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  if (turn !== latest && only === null) return false;
  for (const region of document.querySelectorAll("[data-live]")) {
    if (only === null || region.id === only) replace(region, page.getElementById(region.id));
  }
  return true;
}

function replace(region, fresh) {
  if (!fresh || seen.get(region) === fresh.innerHTML) return;
  const open = [...region.querySelectorAll("details[data-keep][open]")].map((item) => item.dataset.keep);
  const focus = region.contains(document.activeElement) ? document.activeElement.id : "";
  seen.set(region, fresh.innerHTML);
  region.replaceChildren(...document.importNode(fresh, true).childNodes);
  for (const { name, value } of fresh.attributes) {
    if (name.startsWith("data-")) region.setAttribute(name, value);
  }
  for (const item of region.querySelectorAll("details[data-keep]")) item.open = open.includes(item.dataset.keep);
  if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
}

/** Call `action` at most once every `pause` milliseconds, and once more if called meanwhile. */
export function throttled(action, pause) {
  let resting = false, again = false;
  return function ask() {
    if (resting) { again = true; return; }
    resting = true;
    Promise.resolve(action()).finally(() => setTimeout(() => {
      resting = false;
      if (again) { again = false; ask(); }
    }, pause));
  };
}

/** This page's address with some of its query changed; a new state starts at its first page. */
function changed(fields) {
  const url = new URL(location.href);
  if ([...fields].some(([name]) => name === "state")) url.searchParams.delete("cursor");
  for (const [name, value] of fields) {
    if (value) url.searchParams.set(name, value); else url.searchParams.delete(name);
  }
  return url;
}

function follow(fields, only) {
  const url = changed(fields);
  history.replaceState(null, "", url);
  for (const select of document.querySelectorAll("form[data-follow] select")) {
    select.value = url.searchParams.get(select.name) ?? "";
  }
  return refresh({ url, only: only || null });
}

document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-follow]");
  if (!form) return;
  event.preventDefault();
  follow([...new FormData(form)], form.dataset.follow);
});

document.addEventListener("change", (event) => {
  const form = event.target.closest("select") && event.target.closest("form[data-follow]");
  if (form) follow([...new FormData(form)], form.dataset.follow);
});

document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-follow]");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    await follow([...new URL(link.href).searchParams], link.dataset.follow);
    document.getElementById(link.dataset.follow)?.scrollIntoView({ block: "start" });
  }
  const copier = event.target.closest("button[data-copy]");
  if (copier) copy(copier);
});

async function copy(button) {
  const source = document.getElementById(button.dataset.copy);
  const range = document.createRange();
  range.selectNodeContents(source);
  getSelection().removeAllRanges();
  getSelection().addRange(range);
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Selected"; // without https there is no clipboard: the text is selected for Ctrl-C
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}
