// What the actions do: the panes, which of them is active, the tool, the prior beside it.

import { Cine } from "./cine.js";
import { ask } from "./frames.js";
import { Link, counterpart } from "./linked.js";
import { TOOLS } from "./pointer.js";

const SMOOTH = 1.25;
const WINDOW_PX = 12;
const PAN_PX = 40;
const CROSS_PX = 4;
const QUICKER = 1.25;

export class Deck {
  constructor(parts) {
    Object.assign(this, parts); // base, panes, rail, speak, body, stacks, priors
    this.active = this.panes[0];
    this.tool = "window";
    this.cine = new Cine();
    this.link = new Link();
    this.layout = 0; // 0: one viewport, 1: two beside each other
    this.older = new Map();
    for (const pane of this.panes) pane.listeners.push((moved) => this.#moved(moved));
    this.deeds = deeds(this);
  }

  get other() {
    return this.panes.find((pane) => pane !== this.active);
  }

  do(action) {
    const deed = this.deeds[action];
    if (!deed) return false;
    if (!["cine", "faster", "slower"].includes(action) && this.cine.runs) this.#stop();
    deed();
    return true;
  }

  activate(pane) {
    this.active = pane;
    for (const one of this.panes) one.element.classList.toggle("is-active", one === pane);
    this.rail.mark(this.panes[0].stack);
    this.tell();
  }

  choose(stack) {
    this.activate(this.panes[0]);
    this.panes[0].open(stack);
    this.rail.mark(stack);
    if (this.layout) this.#beside();
    this.tell();
  }

  pick(tool) {
    this.tool = tool;
    this.active.point = tool === "measure" ? [...this.active.view.centre] : null;
    this.active.draw();
    this.tell();
  }

  // Enter with the measuring cross: the first sets where a line begins, the next where it ends.
  enter() {
    const { active } = this;
    if (this.tool !== "measure" || !active.point || !active.picture) return false;
    if (this.line) this.line = null;
    else this.line = active.lines.add(active.frame, [...active.point]);
    active.draw();
    return true;
  }

  point(pane, [x, y]) {
    const { picture } = pane;
    const facts = picture?.facts;
    const [column, row] = [Math.floor(x), Math.floor(y)];
    if (!facts || column < 0 || row < 0 || column >= facts.full[1] || row >= facts.full[0]) return this.value("");
    if (!picture.values || facts.reduced || facts.voi) return this.value(`${column}, ${row}`);
    const real = picture.values[row * facts.columns + column] * facts.slope + facts.intercept;
    this.value(`${column}, ${row}: ${Number(real.toPrecision(6))} ${pane.look.unit}`);
  }

  value(text) {
    const place = this.body.querySelector("[data-say=value]");
    if (place.textContent !== text) place.textContent = text;
  }

  // The toolbar shows what is on.
  tell() {
    for (const tool of TOOLS) this.#pressed(tool, this.tool === tool);
    this.#pressed("cine", this.cine.runs);
    this.#pressed("prior", this.layout === 1);
    this.#pressed("link", this.layout === 1 && this.link.on);
    this.#pressed("invert", this.active.inverted);
  }

  async lay(layout) {
    this.layout = layout;
    this.panes[1].element.hidden = !layout;
    this.body.querySelector("[data-panes]").classList.toggle("is-two", Boolean(layout));
    if (layout) await this.#beside();
    else {
      this.panes[1].rest();
      this.activate(this.panes[0]);
    }
    this.tell();
  }

  async showPrior(id) {
    const prior = this.priors.find((one) => one.id === Number(id));
    const [now, then] = this.panes;
    if (!this.older.has(prior.id)) {
      const place = `${this.base}/priors/${prior.id}`;
      const answer = await (await ask(`${place}/series`)).json();
      this.older.set(prior.id, addressed(answer.series, place));
    }
    const stack = counterpart(now.stack, this.older.get(prior.id));
    if (!stack) return this.speak("No image of this prior can be shown.");
    const share = now.index / Math.max(now.stack.frames.length - 1, 1);
    then.open(stack, Math.round(share * (stack.frames.length - 1)));
    this.link.hold(now, then);
  }

  #stop() {
    this.cine.stop();
    this.tell();
  }

  async #beside() {
    const shown = this.priors.filter((one) => one.shown);
    if (!shown.length) {
      this.speak(this.priors.length ? "The prior is not kept here." : "There is no prior of this study here.");
      return this.lay(0);
    }
    const select = this.panes[1].element.querySelector("select");
    try {
      await this.showPrior(select.value || shown[0].id);
    } catch (why) {
      this.speak(why.message);
    }
  }

  #moved(moved) {
    const other = this.panes.find((pane) => pane !== moved);
    if (this.layout && this.link.on && !this.following && other.stack && this.link.anchors?.has(moved)) {
      this.following = true;
      other.go(this.link.target(moved, other));
      this.following = false;
    }
    this.heat?.follow(this.panes[0]);
    if (this.tool === "measure") this.line = null;
  }

  #pressed(action, yes) {
    this.body.querySelector(`[data-do=${action}]`)?.setAttribute("aria-pressed", String(yes));
  }
}

// Every frame knows where it is fetched from.
export function addressed(stacks, place) {
  for (const stack of stacks) {
    for (const frame of stack.frames) frame.url = `${place}/frames/${frame.sop}/${frame.frame}`;
  }
  return stacks;
}

function deeds(deck) {
  const shown = (change) => () => {
    change(deck.active.view);
    deck.active.load();
    deck.active.draw();
  };
  const series = (by) => () => {
    const seen = deck.stacks.filter((stack) => stack.frames.some((frame) => !frame.reason));
    const next = seen[seen.indexOf(deck.panes[0].stack) + by];
    if (next) deck.choose(next);
  };
  const preset = (at) => () => {
    const found = deck.active.presets[at];
    if (found) deck.active.take(found);
  };
  const move = (dx, dy) => () => moved(deck, dx, dy);
  return {
    next: () => deck.active.step(1),
    previous: () => deck.active.step(-1),
    first: () => deck.active.go(0),
    last: () => deck.active.go(Infinity),
    nextSeries: series(1),
    previousSeries: series(-1),
    ...Object.fromEntries([0, 1, 2, 3, 4].map((at) => [`preset${at + 1}`, preset(at)])),
    wider: move(1, 0),
    narrower: move(-1, 0),
    darker: move(0, -1),
    brighter: move(0, 1),
    invert: () => {
      deck.active.inverted = !deck.active.inverted;
      deck.active.draw();
      deck.tell();
    },
    ...Object.fromEntries(TOOLS.map((tool) => [tool, () => deck.pick(tool)])),
    unmeasure: () => {
      deck.active.lines.drop(deck.active.frame);
      deck.active.draw();
    },
    zoomIn: shown((view) => view.zoomTo(view.scale * SMOOTH)),
    zoomOut: shown((view) => view.zoomTo(view.scale / SMOOTH)),
    fit: shown((view) => view.fit()),
    exact: shown((view) => view.exact()),
    panLeft: shown((view) => view.pan(-PAN_PX, 0)),
    panRight: shown((view) => view.pan(PAN_PX, 0)),
    panUp: shown((view) => view.pan(0, -PAN_PX)),
    panDown: shown((view) => view.pan(0, PAN_PX)),
    rotate: shown((view) => view.rotate()),
    rotateLeft: shown((view) => view.rotate(false)),
    flipH: shown((view) => view.flip("h")),
    flipV: shown((view) => view.flip("v")),
    reset: () => {
      deck.active.reset();
      deck.tell();
    },
    cine: () => {
      deck.cine.toggle(deck.active);
      deck.tell();
    },
    faster: () => deck.cine.pace(deck.active.stack, QUICKER),
    slower: () => deck.cine.pace(deck.active.stack, 1 / QUICKER),
    prior: () => deck.lay(deck.layout ? 0 : 1),
    nextLayout: () => deck.lay(1),
    previousLayout: () => deck.lay(0),
    otherPane: () => deck.layout && deck.activate(deck.panes[1]),
    thisPane: () => deck.activate(deck.panes[0]),
    link: () => {
      if (deck.layout) deck.link.toggle(...deck.panes);
      deck.tell();
    },
    heat: () => deck.heat?.toggle(deck.panes[0]),
    heatLess: () => deck.heat?.stronger(deck.panes[0], -1),
    heatMore: () => deck.heat?.stronger(deck.panes[0], 1),
  };
}

// Shift and an arrow: the window, or the measuring cross while that is the tool.
function moved(deck, dx, dy) {
  const { active } = deck;
  if (deck.tool !== "measure" || !active.point) return active.drag(dx * WINDOW_PX, dy * WINDOW_PX);
  const [x, y] = active.view.screen(active.point);
  const step = CROSS_PX * devicePixelRatio;
  active.point = active.view.pixel([x + dx * step, y + dy * step]);
  if (deck.line) deck.line.to = [...active.point];
  active.draw();
}
