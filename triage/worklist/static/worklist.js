// The list: told of changes, and shown without moving a row from under a hand.

import { nameKeys } from "./pagekeys.js";
import { DEEDS, body, byId, setClock, speak, tick, waited, write } from "./triage.js";

const SLOW_MS = 30_000; // marks that depend on the time alone are looked at this often
const STALE_MS = 20_000;
const BUSY_MS = 400;
const MOST_MS = 1000; // changes that come together are shown together
let news = 0;
let lastFresh = Date.now(); // when the server last said how the list stands
let failing = false; // the last question had no answer, or a bad one
let lastAsked = Date.now();
let wanted = false;
let letIn = false; // the person asked for the new rows
let busy = 0;

export const list = () => byId("list");
const rows = () => byId("rows");
const ids = (part) => [...part.querySelectorAll("tr[id]")].map((row) => row.id);
export const isLive = body.dataset.page === "list";

// --- clocks of turnaround -----------------------------------------------------------------------

const WORDS = { within: "", soon: "soon due", late: "late" };

function hours(ms) {
  const minutes = Math.max(0, Math.floor(ms / 60_000));
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}`;
}

document.addEventListener("triage:tick", (event) => {
  still(() => count(event.detail));
  keepUp();
});

function count(now) {
  const nearly = Number(rows()?.dataset.nearly);
  for (const turn of document.querySelectorAll("[data-limit]")) {
    const spent = now - Date.parse(turn.parentElement.querySelector("time").dateTime);
    const limit = Number(turn.dataset.limit) * 1000;
    const key = spent > limit ? "late" : spent >= nearly * limit ? "soon" : "within";
    write(turn, `${hours(spent)} / ${hours(limit)}`);
    turn.className = `turn is-${key}`;
    const word = turn.parentElement.querySelector(".turn-word");
    if (word) write(word, WORDS[key]);
  }
}

// --- what the server says -----------------------------------------------------------------------

export function ask() {
  lastAsked = Date.now();
  wanted = false;
  window.htmx.trigger(list(), "refresh");
}

// Once a second: ask when told of a change, when nobody tells us, and now and then in any case.
function keepUp() {
  if (!isLive || !window.htmx) return;
  const age = Date.now() - lastAsked;
  const told = stream?.readyState === EventSource.OPEN;
  const poll = Number(byId("freshness").dataset.poll) * 1000;
  if ((wanted && age >= MOST_MS) || age >= (told ? SLOW_MS : poll)) ask();
  showFreshness(told);
}

function showFreshness(told) {
  const age = Date.now() - lastFresh;
  const stale = failing || age > STALE_MS;
  const line = byId("freshness");
  line.classList.toggle("is-stale", stale);
  write(line, stale ? `Not updated for ${waited(age)}` : told ? "Live" : "Asked every few seconds");
}

function fail(text) {
  done();
  failing = true;
  showFreshness(false);
  trouble(text);
}

function trouble(text) {
  const line = byId("trouble");
  if (line && (line.dataset.said ?? "") !== text) still(() => tellTrouble(line, text));
}

function tellTrouble(line, text) {
  line.dataset.said = text;
  line.hidden = !text;
  line.textContent = text;
  if (!text) return;
  const again = document.createElement("button");
  again.type = "button";
  again.textContent = "Try now";
  again.addEventListener("click", ask);
  line.append(again);
}

let stream = null;
function listen() {
  if (!isLive || !window.EventSource) return;
  stream = new EventSource("/studies/stream");
  stream.addEventListener("changed", () => { wanted = true; });
  stream.addEventListener("beat", () => { if (!failing) lastFresh = Date.now(); });
  stream.addEventListener("ended", () => location.assign("/login"));
}
window.addEventListener("pagehide", () => stream?.close());
window.addEventListener("pageshow", (event) => { if (event.persisted) listen(); });

// --- rows stay where they are -------------------------------------------------------------------

// As long as the pointer rests on a row or one has the focus, however long that is.
function isHeld() {
  const table = rows();
  const touched = table && (table.matches(":hover") || table.contains(document.activeElement));
  return Boolean(touched) && !letIn;
}

// Whoever has left the rows, by pointer and by key, is shown what waits.
function left() {
  if (!byId("show-new")?.hidden && !isHeld()) ask();
}
for (const kind of ["pointerout", "focusout"]) {
  document.addEventListener(kind, (event) => {
    if (rows()?.contains(event.target)) requestAnimationFrame(left);
  });
}

function offer(count, isNew) {
  const button = byId("show-new");
  news = isNew ? count : 0;
  button.hidden = count === 0;
  button.textContent = isNew ? `${count} new \u2013 show` : "The order has changed \u2013 show";
  follow();
}

// The bar is in sight wherever the list is scrolled to, and never over a row.
function follow() {
  const place = document.querySelector(".live")?.getBoundingClientRect();
  byId("show-new")?.classList.toggle("is-away", Boolean(place) && place.bottom < 0);
}
document.addEventListener("scroll", follow, { passive: true });

// A word more in a row above must not push the row down that a hand is at.
function still(change) {
  const row = rows()?.querySelector("tr:hover, tr:focus-within");
  const top = row?.getBoundingClientRect().top;
  change();
  const moved = row ? row.getBoundingClientRect().top - top : 0;
  if (moved) scrollBy({ top: moved, behavior: "instant" });
}

// Write what is new into the rows that stay where they are; leave the cell that has the focus.
function patch(fragment) {
  for (const tab of fragment.querySelectorAll(".tab[id]")) {
    const count = byId(tab.id)?.querySelector(".count");
    if (count) write(count, tab.querySelector(".count").textContent);
  }
  list().dataset.now = fragment.querySelector("#list").dataset.now;
  for (const old of rows().querySelectorAll("tr[id]")) {
    if (fragment.querySelector(`#${old.id}`)) delete old.dataset.gone;
    else old.dataset.gone = "yes"; // from this list; how it stands now is not known here
  }
  for (const row of fragment.querySelectorAll("tr[id]")) {
    const old = byId(row.id);
    if (!old) continue;
    old.className = row.className;
    if (row.dataset.claim) old.dataset.claim = row.dataset.claim;
    else delete old.dataset.claim;
    [...row.children].forEach((cell, n) => {
      const was = old.children[n];
      if (was && !was.contains(document.activeElement)) was.replaceChildren(...cell.cloneNode(true).childNodes);
    });
  }
}

// One link is in the tab order, and stays so through a swap: the one last used, or the first.
// A link leads to its study within the list's filters, where these were too long for every row.
function rove(part) {
  const here = rows()?.querySelector('a.open[tabindex="0"]')?.closest("tr").id;
  const all = [...part.querySelectorAll("#rows a.open")];
  const one = all.find((link) => link.closest("tr").id === here) ?? all[0];
  for (const link of all) link.tabIndex = link === one ? 0 : -1;
  const query = part.querySelector("#rows")?.dataset.query;
  for (const link of query ? all : []) link.setAttribute("href", `${link.getAttribute("href").split("?")[0]}${query}`);
}

document.addEventListener("htmx:before:swap", (event) => {
  const fragment = event.detail.tasks[0]?.fragment;
  const fresh = fragment?.querySelector("#rows");
  if (!fresh || !rows()) return;
  lastFresh = Date.now();
  failing = false;
  trouble("");
  rove(fragment);
  const [before, after] = [ids(rows()), ids(fresh)];
  const moved = after.filter((id, n) => before[n] !== id);
  const added = arrived(before, after);
  if (added > news) speak(`${added} new ${added === 1 ? "study" : "studies"}`);
  const same = !moved.length && before.length === after.length;
  if (same || !isHeld()) {
    letIn = false;
    return offer(0, false);
  }
  event.preventDefault();
  still(() => patch(fragment));
  offer(Math.max(added, 1), added > 0);
  done();
  tick();
});

// How many rows came in. What the next page gave up, behind all that stood here, is not new.
function arrived(before, after) {
  const isFull = document.querySelector(".pages a[rel=next]") !== null;
  const last = isFull ? after.findLastIndex((id) => before.includes(id)) : after.length - 1;
  return after.filter((id, n) => n <= last && !before.includes(id)).length;
}

function done() {
  clearTimeout(busy);
  list()?.removeAttribute("aria-busy");
}

document.addEventListener("htmx:before:request", () => {
  clearTimeout(busy);
  busy = setTimeout(() => list()?.setAttribute("aria-busy", "true"), BUSY_MS);
});
document.addEventListener("htmx:after:swap", () => { done(); setClock(); nameKeys(); tick(); back(); });
document.addEventListener("htmx:response:error", (event) => {
  if (event.detail.ctx.response.status === 401) location.assign("/login");
  else fail("The list could not be read. What you see may be out of date; it is asked for again by itself.");
});
document.addEventListener("htmx:error", () => {
  fail("The server does not answer. What you see may be out of date; it is asked again by itself.");
});

// By keys the reader stays at the row they were at, or begins at the first.
let from = "";
function show(isByKey) {
  if (byId("show-new")?.hidden !== false) return;
  from = isByKey ? rows()?.querySelector('a.open[tabindex="0"]')?.closest("tr").id ?? "" : "";
  letIn = true;
  ask();
}

function back() {
  if (!from) return;
  const row = byId(from) ?? rows()?.querySelector("tr[id]");
  from = "";
  row?.querySelector("a.open").focus();
  row?.scrollIntoView({ block: "nearest" });
}

DEEDS.s = () => show(true);
byId("show-new")?.addEventListener("click", (event) => show(event.detail === 0));

// --- tab order ----------------------------------------------------------------------------------

document.addEventListener("focusin", (event) => {
  if (!event.target.matches("#rows a.open")) return;
  for (const one of document.querySelectorAll("#rows a.open")) one.tabIndex = one === event.target ? 0 : -1;
});

rove(document);
const swapper = byId("swapper");
if (swapper) document.head.append(Object.assign(document.createElement("script"), { src: swapper.href }));
listen();
