// Ticking clocks, single keys, and a session that stays while a person is here.

import { WORDS, able, fixed, keys, nameKeys, works } from "./pagekeys.js";
import { KeyDialog } from "./viewer/keydialog.js";

export const body = document.body;
export const byId = (id) => document.getElementById(id);
const ACTIVE_MS = 60_000;
const TOLD_MS = 6000;
let lastActive = Date.now();

// --- clocks -------------------------------------------------------------------------------------

let ahead = 0; // of the server's clock against this one, ms
export function setClock() {
  const stamp = document.querySelector("[data-now]");
  if (stamp) ahead = Date.parse(stamp.dataset.now) - Date.now();
}

export function waited(ms) {
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

export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function tick() {
  const now = Date.now() + ahead;
  for (const time of document.querySelectorAll("time[data-waited]")) {
    write(time, waited(now - Date.parse(time.dateTime)));
  }
  for (const time of document.querySelectorAll("time[data-local]")) {
    write(time, local(new Date(time.dateTime)));
  }
  for (const time of document.querySelectorAll("time[data-ago]")) {
    write(time, `${waited(now - Date.parse(time.dateTime))} ago`);
  }
  document.dispatchEvent(new CustomEvent("triage:tick", { detail: now }));
}

export function speak(text) {
  const place = byId("spoken");
  if (place) place.textContent = text;
}

// To the eye as well, for a while: of what is done to a row and stands nowhere on it.
let shown = 0;
export function tell(text) {
  speak(text);
  byId("spoken").classList.remove("unseen");
  clearTimeout(shown);
  shown = setTimeout(() => byId("spoken").classList.add("unseen"), TOLD_MS);
}

// --- keys ---------------------------------------------------------------------------------------

const links = () => [...document.querySelectorAll("#rows a.open")];

function step(by) {
  const all = links();
  if (!all.length) return;
  const here = all.indexOf(document.activeElement);
  const next = here < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, here + by));
  for (const one of all) one.tabIndex = one === all[next] ? 0 : -1;
  all[next].focus({ preventScroll: true });
  all[next].closest("tr").scrollIntoView({ block: "nearest" });
}

function go(where) {
  if (where) location.assign(where);
}

// Where the images are of the study that is open, or of the row that has the focus.
function images() {
  if (body.dataset.images) return body.dataset.images;
  const row = document.activeElement;
  if (!row?.matches("a.open")) return "";
  const { pathname, search } = new URL(row.href);
  return pathname + (body.dataset.sees === "yes" ? "/view" : "") + search;
}

const isStudy = body.dataset.page === "study";

// The study that is open, or the row that has the focus, where the PACS shows it.
function atPacs(event) {
  const row = event.target.matches("#rows a.open") ? event.target : null;
  const isOpen = isStudy && !event.target.matches(`${FIELDS}, a, button, summary`);
  if (!event.shiftKey || !body.dataset.pacs || !(row || isOpen)) return false;
  if (!event.repeat) open(`${row ? new URL(row.href).pathname : location.pathname}/pacs`, "_blank", "noopener");
  return true;
}

const press = (key) => document.querySelector(`[data-key="${key}"]`)?.click();

// By the key each was delivered with, whatever key this reader gave it.
export const DEEDS = {
  j: () => (isStudy ? go(body.dataset.behind) : step(1)),
  k: () => (isStudy ? go(body.dataset.before) : step(-1)),
  o: () => go(images()),
  n: () => able("next") && go(`/studies/next${location.search}`),
  c: () => document.querySelector("button.claims")?.click(),
  ...Object.fromEntries(WORDS.map((key) => [key, () => press(key)])),
  "/": () => byId("search")?.focus(),
  "?": () => dialog?.open(),
};
const FIELDS = "input, textarea, select";
const LEFT = `${FIELDS}, body[data-page=list] #rows a.open`; // by Escape, before the page is
const OTHERS = {
  ArrowDown: () => document.activeElement?.closest("#rows") && document.activeElement?.matches("a.open") && (step(1), true),
  ArrowUp: () => document.activeElement?.closest("#rows") && document.activeElement?.matches("a.open") && (step(-1), true),
  Enter: atPacs,
  Escape: () => document.activeElement?.matches(LEFT) ? document.activeElement.blur() : go(body.dataset.back),
};

document.addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
  if (plain && event.key in OTHERS) {
    if (OTHERS[event.key](event)) event.preventDefault();
    return;
  }
  if (event.target.matches(FIELDS) || (event.target.matches("a, button, summary") && [" ", "Enter"].includes(event.key))) return;
  const key = keys.action(event);
  if (!key || (event.repeat && WORDS.includes(key))) return;
  event.preventDefault();
  DEEDS[key]();
});

const dialog = byId("help") && new KeyDialog(keys, byId("help"), { works, fixed: fixed(), changed: nameKeys });
byId("help-button")?.addEventListener("click", DEEDS["?"]);
if (byId("help-button")) byId("help-button").hidden = false;
nameKeys();

// --- a person is here: the session stays; the timer alone does not keep it -----------------------

function active() {
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
