// Puts the viewer together: the study's series, two viewports, keys, toolbar.

import "./alive.js";
import { Claim } from "./claim.js";
import { Deck, addressed } from "./deck.js";
import { Frames, ask } from "./frames.js";
import { KeyDialog } from "./keydialog.js";
import { ACTIONS, Keys, written } from "./keys.js";
import { Pane } from "./pane.js";
import { Pointer } from "./pointer.js";
import { Presets } from "./presets.js";
import { Rail } from "./rail.js";
import { Words } from "./words.js";

const body = document.body;
const byId = (id) => document.getElementById(id);
const base = body.dataset.view;

function speak(text) {
  byId("spoken").textContent = "";
  byId("spoken").textContent = text;
  byId("viewer-said").textContent = text;
}

const keys = new Keys(ACTIONS, `viewer-keys ${body.dataset.reader}`);
const fixed = [
  ["with the measuring cross: a line begins, ends", "Enter"],
  ["leave a field", "Esc"],
];
const works = (action) => action !== "pacs" || Boolean(body.dataset.pacs);
const dialog = new KeyDialog(keys, byId("viewer-keys"), { works, fixed, changed: nameKeys });
const claim = new Claim(document.querySelector("[data-claim]"), body.dataset.csrf, speak);
const words = new Words(byId("viewer-words"), speak);

async function start() {
  const frames = new Frames();
  const panes = [...document.querySelectorAll(".pane")].map((element) => new Pane(element, frames));
  const rail = new Rail(byId("series"), frames, (stack) => deck.choose(stack));
  const deck = new Deck({ base, panes, rail, speak, body, stacks: [], priors: [] });
  for (const pane of panes) new Pointer(pane, deck);
  new Presets(document.querySelector("[data-presets]"), deck);
  if (body.dataset.mode === "research") await warm(deck);
  wire(deck);
  await fill(deck);
}

// In triage mode there is no heat map: not even its program is fetched.
async function warm(deck) {
  const { Heat } = await import("./heat.js");
  deck.heat = new Heat(base, byId("heat"));
  deck.panes[0].overlays.push((context, pane) => deck.heat.draw(context, pane));
  deck.heat.redraw = () => deck.panes[0].draw();
}

async function fill(deck) {
  const pane = deck.panes[0];
  let answer;
  try {
    answer = await (await ask(`${base}/series`)).json();
  } catch (why) {
    pane.reason = why.message;
    return pane.drawNow();
  }
  deck.stacks = addressed(answer.series, base);
  deck.priors = answer.priors;
  byId("held").hidden = !answer.held;
  deck.rail.fill(deck.stacks);
  offer(deck);
  const first = deck.stacks.find((stack) => stack.frames.some((frame) => !frame.reason)) ?? deck.stacks[0];
  if (first) deck.choose(first);
  else {
    pane.reason = "No image of this study is kept here.";
    pane.drawNow();
  }
}

function offer(deck) {
  const select = deck.panes[1].element.querySelector("select");
  select.replaceChildren(...deck.priors.filter((one) => one.shown).map((one) => {
    const option = document.createElement("option");
    option.value = one.id;
    option.textContent = `Prior ${one.date} ${one.modality} ${one.what}`;
    return option;
  }));
  select.addEventListener("change", () => deck.showPrior(select.value).catch((why) => speak(why.message)));
  byId("prior-count").textContent = String(deck.priors.filter((one) => one.shown).length);
}

function wire(deck) {
  const ours = {
    help: () => dialog.open(),
    back: () => (deck.tool === "window" ? location.assign(body.dataset.back) : deck.pick("window")),
    agree: () => words.say("agree"),
    disagree: () => words.say("disagree"),
    unsure: () => words.say("unsure"),
    claim: () => claim.toggle(),
    pacs: () => body.dataset.pacs && open(base.replace(/view$/, "pacs"), "_blank", "noopener"),
    nextStudy: () => location.assign(`${base}/next${location.search}`),
  };
  const perform = (action) => (ours[action] ? ours[action]() : deck.do(action));
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]") || event.defaultPrevented) return;
    if (event.target.matches("input, select, textarea")) {
      if (event.key === "Escape") deck.active.element.focus();
      return;
    }
    const pressing = event.target.matches("button, a, summary");
    if (pressing && (event.key === "Enter" || event.key === " ")) return;
    if (event.key === "Enter" && !event.shiftKey && deck.enter()) return event.preventDefault();
    const action = keys.action(event);
    if (!action || (event.repeat && action === "pacs")) return;
    event.preventDefault();
    perform(action);
  });
  for (const button of document.querySelectorAll("[data-do]")) {
    button.addEventListener("click", () => perform(button.dataset.do));
  }
  for (const pane of deck.panes) pane.element.addEventListener("focus", () => deck.activate(pane));
}

// Every button says the key that this reader gave it.
function nameKeys() {
  for (const button of document.querySelectorAll("[data-do], #viewer-words [name=verdict]")) {
    const key = keys.of(button.dataset.do ?? button.value);
    const mark = button.querySelector("kbd");
    mark.textContent = written(key);
    mark.hidden = !key;
  }
}

nameKeys();
await start();
body.dataset.ready = "yes";
