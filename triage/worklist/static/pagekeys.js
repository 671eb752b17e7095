// The single keys of the list, a study and the other pages: what they are called, where they work.
// Each is named by the key it was delivered with; a reader may give it another, or none.

import { Keys, written } from "./viewer/keys.js";

export const WORDS = ["a", "d", "u", "x", "z"];
const OF_A_ROW = ["a", "d", "u", "z"];
const help = document.getElementById("help");
const hasRows = () => document.getElementById("rows") !== null;
const isStudy = () => document.body.dataset.page === "study";
const atPacs = document.body.dataset.pacs === "yes";
const hasButton = (key) => () => document.querySelector(`[data-key="${key}"]`) !== null;

// What this person's roles allow: a key that would be refused is none.
export const able = (deed) => Boolean(help?.dataset.may.split(" ").includes(deed));

const ACTIONS = {
  j: ["next study", "j"],
  k: ["previous study", "k"],
  o: ["open its images", "o"],
  n: ["next unread study", "n"],
  s: ["show what is new on the list", "s"],
  c: ["claim the study, release it, take it over", "c"],
  a: ["agree with the decisive finding", "a"],
  d: ["disagree with it", "d"],
  u: ["unsure about it", "u"],
  x: ["a finding was missed", "x"],
  z: ["undo your last word", "z"],
  "/": ["search", "/"],
  "?": ["these keys", "?"],
};
const PLACES = {
  j: () => hasRows() || isStudy(),
  k: () => hasRows() || isStudy(),
  o: () => hasRows() || Boolean(document.body.dataset.images),
  n: () => able("next"),
  s: () => document.getElementById("show-new") !== null,
  c: () => able("claim") && (hasRows() || isStudy()),
  ...Object.fromEntries(WORDS.map((key) => [key, hasButton(key)])),
  ...Object.fromEntries(OF_A_ROW.map((key) => [key, () => hasButton(key)() || (able("say") && hasRows())])),
  "/": () => document.getElementById("search") !== null,
  "?": () => true,
};
export const works = (key) => PLACES[key]();

// Keys that stay what they are.
export const fixed = () => [
  ...(hasRows() ? [
    ["next, previous study of the list", "\u2193 \u2191"],
    ["open the study: why it stands where it stands", "Enter"],
    ...(atPacs ? [] : [["open it in a window of its own", "Shift+Enter"]]),
  ] : []),
  ...(atPacs && (hasRows() || isStudy()) ? [["open it in the PACS's viewer", "Shift+Enter"]] : []),
  ...(document.getElementById("takeover") ? [["the reason, where you take a study over", "1 to 4"]] : []),
  ["leave a field, a dialogue, or the page for the one before it", "Esc"],
];

export const keys = new Keys(ACTIONS, `page-keys ${help?.dataset.reader}`);

// Write every key that stands on the page as this reader has it.
export function nameKeys() {
  for (const mark of document.querySelectorAll("kbd")) {
    const key = (mark.dataset.was ??= mark.textContent);
    if (!(key in ACTIONS) || mark.closest("dialog")) continue;
    const now = keys.of(key);
    if (mark.textContent !== written(now)) mark.textContent = written(now);
    mark.hidden = !now;
  }
}
