// Which key does what; a reader may give every one of them another key, or none, for this browser.

export const ACTIONS = {
  next: ["next image", "ArrowDown"],
  previous: ["previous image", "ArrowUp"],
  first: ["first image", "Home"],
  last: ["last image", "End"],
  nextSeries: ["next series", "PageDown"],
  previousSeries: ["previous series", "PageUp"],
  preset1: ["window 1 (CT: soft tissue)", "1"],
  preset2: ["window 2 (CT: lung)", "2"],
  preset3: ["window 3 (CT: liver)", "3"],
  preset4: ["window 4 (CT: bone)", "4"],
  preset5: ["window 5 (CT: brain)", "5"],
  wider: ["wider window", "Shift+ArrowRight"],
  narrower: ["narrower window", "Shift+ArrowLeft"],
  darker: ["window up: darker", "Shift+ArrowUp"],
  brighter: ["window down: brighter", "Shift+ArrowDown"],
  invert: ["invert", "i"],
  window: ["left button: window", "w"],
  zoom: ["left button: zoom", "z"],
  pan: ["left button: pan", "x"],
  measure: ["left button: measure; by keys: Shift and arrows move, Enter sets", "t"],
  unmeasure: ["remove the last measure", "Delete"],
  zoomIn: ["larger", "+"],
  zoomOut: ["smaller", "-"],
  fit: ["fit", "="],
  exact: ["every pixel, 100 %", "0"],
  panLeft: ["pan left", "Ctrl+ArrowLeft"],
  panRight: ["pan right", "Ctrl+ArrowRight"],
  panUp: ["pan up", "Ctrl+ArrowUp"],
  panDown: ["pan down", "Ctrl+ArrowDown"],
  rotate: ["rotate right", "r"],
  rotateLeft: ["rotate left", "l"],
  flipH: ["mirror left and right", "h"],
  flipV: ["mirror up and down", "v"],
  reset: ["as at the beginning", " "],
  cine: ["run, stop", "c"],
  faster: ["run faster", ">"],
  slower: ["run slower", "<"],
  prior: ["prior beside it", "p"],
  nextLayout: ["next layout", "."],
  previousLayout: ["previous layout", ","],
  otherPane: ["the other viewport", "ArrowRight"],
  thisPane: ["the first viewport", "ArrowLeft"],
  link: ["scroll together, apart", "y"],
  agree: ["agree with the decisive finding", "a"],
  disagree: ["disagree", "d"],
  unsure: ["unsure", "u"],
  claim: ["claim, release", "C"],
  nextStudy: ["next unread study, prioritised first", "n"],
  pacs: ["open it in the PACS's viewer", "Shift+Enter"],
  heat: ["heat map (research mode)", "m"],
  heatLess: ["heat map fainter", "["],
  heatMore: ["heat map stronger", "]"],
  help: ["these keys", "?"],
  back: ["back to the study", "Escape"],
};
const SINGLE = "single-keys"; // "off": of every page

export class Keys {
  constructor(actions, place) {
    this.actions = actions; // name: [words, key]
    this.place = place;
    try {
      this.own = JSON.parse(localStorage.getItem(this.place) ?? "{}");
    } catch {
      this.own = {};
    }
  }

  get on() {
    return localStorage.getItem(SINGLE) !== "off";
  }

  set on(yes) {
    localStorage.setItem(SINGLE, yes ? "on" : "off");
  }

  of(action) {
    return this.own[action] ?? this.actions[action][1];
  }

  // Give an action a key; an action that had it loses it.
  give(action, key) {
    for (const other of Object.keys(this.actions)) {
      if (key && other !== action && this.of(other) === key) this.own[other] = "";
    }
    this.own[action] = key;
    this.#write();
  }

  reset() {
    this.own = {};
    this.#write();
  }

  // The action of a key press; none while single keys are off and nothing but a letter was pressed.
  action(event) {
    const key = named(event);
    if (!key || (!this.on && isCharacter(event))) return "";
    return Object.keys(this.actions).find((one) => this.of(one) === key) ?? "";
  }

  #write() {
    localStorage.setItem(this.place, JSON.stringify(this.own));
  }
}

const isCharacter = (event) => event.key.length === 1 && !event.ctrlKey;

export function named(event) {
  if (event.altKey || event.metaKey || ["Shift", "Control", "Alt", "Meta", "Tab"].includes(event.key)) return "";
  const shift = event.shiftKey && event.key.length > 1 ? "Shift+" : "";
  return `${event.ctrlKey ? "Ctrl+" : ""}${shift}${event.key}`;
}

const WORDS = { " ": "Space", ArrowUp: "\u2191", ArrowDown: "\u2193", ArrowLeft: "\u2190", ArrowRight: "\u2192",
  PageUp: "PgUp", PageDown: "PgDn", Escape: "Esc", Delete: "Del" };

export function written(key) {
  if (!key) return "none";
  return key.replace(/(Ctrl\+|Shift\+)?(.+)$/s, (_, modifier, rest) => `${modifier ?? ""}${WORDS[rest] ?? rest}`);
}
