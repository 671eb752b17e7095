// Ticking clocks, single keys, and a list that never moves a row away from under a hand.

const body = document.body;
const byId = (id) => document.getElementById(id);
const HOLD_MS = 60_000; // nobody holds the list still for longer than this without moving
const ACTIVE_MS = 60_000;
let news = 0;
let lastMoved = Date.now();
let lastActive = Date.now();
let lastFresh = Date.now();

// --- clocks -------------------------------------------------------------------------------------

let ahead = 0; // of the server's clock against this one, ms
function setClock() {
  const stamp = document.querySelector("[data-now]");
  if (stamp) ahead = Date.parse(stamp.dataset.now) - Date.now();
}

function waited(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const [m, h, d] = [Math.floor(s / 60), Math.floor(s / 3600), Math.floor(s / 86400)];
  if (m < 1) return `${s} s`;
  if (h < 1) return `${m} min`;
  if (d < 1) return m % 60 ? `${h} h ${m % 60} min` : `${h} h`;
  return h % 24 ? `${d} d ${h % 24} h` : `${d} d`;
}

function local(moment) {
  const two = (n) => String(n).padStart(2, "0");
  return `${moment.getFullYear()}-${two(moment.getMonth() + 1)}-${two(moment.getDate())} ` +
    `${two(moment.getHours())}:${two(moment.getMinutes())}`;
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function tick() {
  const now = Date.now() + ahead;
  for (const time of document.querySelectorAll("time[data-waited]")) {
    write(time, waited(now - Date.parse(time.dateTime)));
  }
  for (const time of document.querySelectorAll("time[data-local]")) {
    write(time, local(new Date(time.dateTime)));
  }
  showFreshness();
}

// --- the list -----------------------------------------------------------------------------------

const rows = () => byId("rows");
const ids = (part) => [...part.querySelectorAll("tr[id]")].map((row) => row.id);

function isHeld() {
  const table = rows();
  const touched = table && (table.matches(":hover") || table.contains(document.activeElement));
  return Boolean(touched) && Date.now() - lastMoved < HOLD_MS;
}

function speak(text) {
  byId("spoken").textContent = text;
}

function showFreshness(problem = "") {
  const line = byId("freshness");
  if (!line) return;
  const age = Math.round((Date.now() - lastFresh) / 1000);
  const stale = age > Number(line.dataset.staleAfter);
  line.classList.toggle("is-stale", stale || line.dataset.problem !== undefined);
  if (problem) line.dataset.problem = problem;
  if (line.dataset.problem !== undefined) write(line, line.dataset.problem);
  else write(line, stale ? `Not updated for ${waited(age * 1000)}` : "Live");
}

function offer(count) {
  const button = byId("show-new");
  news = count;
  button.hidden = count === 0;
  button.textContent = `${count} ${count === 1 ? "change" : "changes"} \u2013 show`;
}

// Write what is new into the rows that stay where they are; leave the cell that has the focus.
function patch(fragment) {
  for (const tab of fragment.querySelectorAll(".tab[id]")) {
    const count = byId(tab.id)?.querySelector(".count");
    if (count) write(count, tab.querySelector(".count").textContent);
  }
  for (const row of fragment.querySelectorAll("tr[id]")) {
    const old = byId(row.id);
    if (!old) continue;
    old.className = row.className;
    [...row.children].forEach((cell, n) => {
      const was = old.children[n];
      if (was && !was.contains(document.activeElement)) was.replaceChildren(...cell.cloneNode(true).childNodes);
    });
  }
}

document.addEventListener("htmx:before:swap", (event) => {
  const fragment = event.detail.tasks[0]?.fragment;
  const fresh = fragment?.querySelector("#rows");
  if (!fresh || !rows()) return;
  lastFresh = Date.now();
  delete byId("freshness").dataset.problem;
  const [before, after] = [ids(rows()), ids(fresh)];
  const moved = after.filter((id, n) => before[n] !== id);
  const added = after.filter((id) => !before.includes(id)).length;
  if (added > news) speak(`${added} new ${added === 1 ? "study" : "studies"}`);
  if (!moved.length && before.length === after.length) return offer(0);
  if (!isHeld()) return offer(0);
  event.preventDefault();
  patch(fragment);
  offer(Math.max(added, 1));
  tick();
});

document.addEventListener("htmx:after:swap", () => { setClock(); tick(); });
document.addEventListener("htmx:response:error", (event) => {
  const ended = event.detail.ctx.response.status === 401;
  if (ended) location.assign("/login");
  else showFreshness("The server could not update the list. Trying again.");
});
document.addEventListener("htmx:error", () => showFreshness("The server does not answer. Trying again."));

byId("show-new")?.addEventListener("click", () => {
  lastMoved = 0;
  document.activeElement?.blur();
  window.htmx.trigger(byId("list"), "refresh");
});

// --- keys ---------------------------------------------------------------------------------------

const links = () => [...document.querySelectorAll("#rows a.open")];

function step(by) {
  const all = links();
  if (!all.length) return;
  const here = all.indexOf(document.activeElement);
  const next = here < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, here + by));
  all[next].focus({ preventScroll: true });
  all[next].closest("tr").scrollIntoView({ block: "nearest" });
}

function go(where) {
  if (where) location.assign(where);
}

const KEYS = {
  j: () => (body.dataset.page === "study" ? go(body.dataset.behind) : step(1)),
  k: () => (body.dataset.page === "study" ? go(body.dataset.before) : step(-1)),
  o: () => document.activeElement?.matches("a.open") && document.activeElement.click(),
  "/": () => byId("search")?.focus(),
  "?": () => byId("help")?.showModal(),
};
const OTHERS = {
  ArrowDown: () => body.dataset.page === "list" && document.activeElement?.matches("a.open") && (step(1), true),
  ArrowUp: () => body.dataset.page === "list" && document.activeElement?.matches("a.open") && (step(-1), true),
  Escape: () => document.activeElement?.matches("input") ? document.activeElement.blur() : go(body.dataset.back),
};

const keysOn = () => localStorage.getItem("single-keys") !== "off";

document.addEventListener("keydown", (event) => {
  lastMoved = Date.now();
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help")?.open) return;
  const typing = event.target.matches("input, textarea, select");
  if (event.key in OTHERS) {
    if (OTHERS[event.key]()) event.preventDefault();
  } else if (!typing && keysOn() && event.key in KEYS) {
    event.preventDefault();
    KEYS[event.key]();
  } else if (!typing && keysOn() && /^[a-z]$/.test(event.key) && !event.repeat) {
    document.querySelector(`button[data-key="${event.key}"]`)?.click();
  }
});

byId("help-button")?.addEventListener("click", KEYS["?"]);
if (byId("help-button")) byId("help-button").hidden = false;
const choice = byId("keys-on");
if (choice) {
  choice.checked = keysOn();
  choice.addEventListener("change", () => localStorage.setItem("single-keys", choice.checked ? "on" : "off"));
}

// --- a person is here: the session stays; the timer alone does not keep it -----------------------

function active() {
  lastMoved = Date.now();
  if (!body.dataset.csrf || Date.now() - lastActive < ACTIVE_MS) return;
  lastActive = Date.now();
  fetch("/session/active", { method: "POST", headers: { "X-CSRF-Token": body.dataset.csrf } }).catch(() => {});
}
for (const kind of ["pointermove", "keydown", "wheel"]) {
  document.addEventListener(kind, active, { passive: true });
}

setClock();
tick();
setInterval(tick, 1000);
body.dataset.ready = "yes";
