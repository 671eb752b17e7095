// One viewport: a stack of frames, the frame it is at, how it is shown, and the words around it.

import { Table, paint } from "./lut.js";
import { Lines, cross, draw as drawLines } from "./measure.js";
import { NoPicture } from "./frames.js";
import { View, letters } from "./view.js";
import { WHOLE, chosen, first, presets } from "./windows.js";

const AHEAD = 8;
const WIDTHS = 256; // display sizes are asked for in steps of as many columns

export class Pane {
  constructor(element, frames) {
    this.element = element;
    this.frames = frames;
    this.canvas = element.querySelector("canvas");
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.source = new OffscreenCanvas(1, 1);
    this.table = new Table();
    this.view = new View();
    this.lines = new Lines();
    this.overlays = []; // (context, pane) => void, drawn over the picture
    this.listeners = []; // told when the pane is at another frame
    this.inverted = false;
    this.point = null; // of the measuring cross, in pixels of the picture
    this.clear();
    new ResizeObserver(() => this.#resized()).observe(this.canvas);
  }

  clear() {
    this.stack = null;
    this.index = 0;
    this.at = 0; // the frame that is drawn, while another one comes
    this.picture = null;
    this.painted = null;
    this.window = null;
    this.reason = "";
  }

  get frame() {
    return this.stack?.frames[this.index];
  }

  get look() {
    return this.stack?.looks[this.frame?.look] ?? { windows: [], rows: 0, columns: 0 };
  }

  get drawn() {
    return this.stack?.frames[this.at];
  }

  get drawnLook() {
    return this.stack?.looks[this.drawn?.look] ?? { windows: [], rows: 0, columns: 0 };
  }

  get presets() {
    return presets(this.look, this.stack?.modality);
  }

  // Show a series, at a frame.
  open(stack, index = 0) {
    this.clear();
    this.stack = stack;
    this.inverted = false;
    this.view.reset();
    for (const frame of stack.frames) frame.voi = Boolean(stack.looks[frame.look]?.table);
    this.go(index);
  }

  // Go to a frame; what is not there stays where it was.
  async go(index) {
    if (!this.stack) return;
    const before = this.index;
    this.index = Math.min(Math.max(index, 0), this.stack.frames.length - 1);
    for (const listen of this.listeners) listen(this, this.index - before);
    await this.load();
  }

  step(by) {
    return this.go(this.index + by);
  }

  // The width to ask the server for: 0 where every pixel is needed or worth having.
  get width() {
    const { columns, rows } = this.look;
    if (columns * rows < 2 ** 20) return 0;
    const shown = Math.ceil((columns * this.view.scale) / WIDTHS) * WIDTHS;
    return shown >= columns ? 0 : shown;
  }

  async load() {
    const { frame, look } = this;
    if (look.columns) this.view.show(look.columns, look.rows, look.aspect);
    const { width } = this; // as large as it is shown now
    if (this.asked && this.asked[0] !== frame) this.frames.release(...this.asked);
    const ready = this.frames.best(frame, width);
    const coming = ready ?? this.frames.get(frame, width); // before what may be wanted next
    this.asked = [frame, width];
    this.#ahead(width);
    if (ready) return this.#show(frame, ready);
    this.element.dataset.loading = "yes";
    try {
      this.#show(frame, await coming);
    } catch (why) {
      if (why.name !== "AbortError" && frame === this.frame) this.#refuse(why);
    }
  }

  // Out of sight: nothing is wanted ahead of it.
  rest() {
    this.frames.prefetch(this, []);
  }

  #ahead(width) {
    const { frames } = this.stack;
    const next = [];
    for (let by = 1; by <= AHEAD; by += 1) {
      for (const at of [this.index + by, this.index - by]) {
        if (frames[at] && !frames[at].reason) next.push(frames[at]);
      }
    }
    this.frames.prefetch(this, next, width);
  }

  #show(frame, picture) {
    if (frame !== this.frame) return;
    delete this.element.dataset.loading;
    this.reason = "";
    this.at = this.index;
    this.picture = picture;
    this.standard = first(this.look, picture);
    this.window ??= this.standard;
    this.draw();
  }

  #refuse(why) {
    delete this.element.dataset.loading;
    this.at = this.index;
    this.picture = null;
    this.reason = why instanceof NoPicture ? why.message : "This image cannot be shown.";
    this.draw();
  }

  // Another window; values for display and real units are two different pictures.
  async take(preset) {
    if (!this.picture) return;
    const table = preset === WHOLE;
    if (this.look.table && table !== Boolean(this.frame.voi)) {
      for (const frame of this.stack.frames) frame.voi = table;
      this.picture = null;
      await this.load();
    }
    if (!this.picture) return;
    this.window = chosen(preset, this.picture);
    this.draw();
  }

  // Change the window by a drag: across is its width, down its centre.
  drag(dx, dy) {
    if (!this.picture) return;
    const { centre, width, fn } = this.window;
    const step = Math.max(width, this.picture.facts.slope ?? 1) / 256;
    const least = fn === "LINEAR" ? 1 : this.picture.facts.slope ?? 1;
    this.window = { centre: centre + dy * step, width: Math.max(width + dx * step, least), fn, name: "" };
    this.draw();
  }

  reset() {
    this.inverted = false;
    this.view.reset();
    this.window = this.standard ?? null;
    this.load();
  }

  draw() {
    if (this.drawing) return;
    this.drawing = requestAnimationFrame(() => {
      this.drawing = 0;
      this.drawNow();
    });
  }

  drawNow() {
    const began = performance.now();
    this.context.setTransform(1, 0, 0, 1, 0, 0);
    this.context.fillStyle = "#000";
    this.context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    if (this.picture) this.#drawPicture();
    const ms = performance.now() - began;
    this.#say();
    const detail = { ms, index: this.at, reduced: Boolean(this.picture?.facts.reduced) };
    this.element.dispatchEvent(new CustomEvent("drawn", { detail, bubbles: true }));
  }

  #drawPicture() {
    const { facts } = this.picture;
    this.#fill();
    const [a, b, c, d, x, y] = this.view.matrix();
    const [wide, high] = [facts.full[1] / facts.columns, facts.full[0] / facts.rows];
    this.context.setTransform(a * wide, b * wide, c * high, d * high, x, y);
    this.context.imageSmoothingEnabled = this.view.scale !== 1 || facts.reduced;
    this.context.drawImage(this.source, 0, 0);
    for (const overlay of this.overlays) overlay(this.context, this);
    this.context.setTransform(1, 0, 0, 1, 0, 0);
    const ratio = devicePixelRatio;
    drawLines(this.context, this.lines.on(this.drawn), this.drawnLook, this.view, ratio);
    if (this.point) cross(this.context, this.view.screen(this.point), ratio);
  }

  #fill() {
    const { rows, columns } = this.picture.facts;
    const inverted = this.inverted !== this.picture.facts.inverted;
    const now = [this.picture, this.window, inverted];
    if (this.painted && now.every((one, at) => one === this.painted[at])) return;
    if (this.source.width !== columns || this.source.height !== rows || !this.image) {
      this.source.width = columns;
      this.source.height = rows;
      this.image = new ImageData(columns, rows);
      this.pixels = new Uint32Array(this.image.data.buffer);
      this.ink = this.source.getContext("2d", { alpha: false });
    }
    paint(this.pixels, this.picture, this.window, inverted, this.table);
    this.ink.putImageData(this.image, 0, 0);
    this.painted = now;
  }

  #resized() {
    const box = this.canvas.getBoundingClientRect();
    this.canvas.width = Math.max(1, Math.round(box.width * devicePixelRatio));
    this.canvas.height = Math.max(1, Math.round(box.height * devicePixelRatio));
    this.view.resize(this.canvas.width, this.canvas.height);
    if (this.stack && !this.element.hidden) this.load();
    else this.draw();
  }

  // The words around the picture. Text only: whatever a header says is never markup.
  #say() {
    const write = (part, text) => {
      const place = this.element.querySelector(`[data-say=${part}]`);
      if (place && place.textContent !== text) place.textContent = text;
    };
    const look = this.drawnLook;
    const count = this.stack?.frames.length ?? 0;
    const at = this.drawn?.at_mm;
    const where = at === undefined || at === null ? "" : ` \u00b7 ${at.toFixed(1)} mm`;
    write("place", count ? `Image ${this.at + 1} of ${count}${where}` : "");
    write("series", this.stack ? [this.stack.modality, this.stack.description].filter(Boolean).join(" ") : "");
    write("window", this.picture ? this.#windowWords() : "");
    const full = Math.round(this.view.scale * 100);
    write("zoom", this.picture ? `${full} %${this.inverted ? " \u00b7 inverted" : ""}` : "");
    const compressed = this.picture?.facts.reduced ? "compressed preview, not for diagnosis: zoom in for every pixel" : "";
    write("quality", [compressed, look.lossy].filter(Boolean).join(" \u00b7 "));
    const [right, bottom, left, top] = this.picture ? letters(look, this.view) : ["", "", "", ""];
    for (const [edge, text] of Object.entries({ right, bottom, left, top })) write(edge, text);
    write("reason", this.reason);
    this.element.querySelector("[data-say=reason]").hidden = !this.reason;
    this.canvas.setAttribute("aria-label", count ? `image ${this.at + 1} of ${count}` : "no image");
  }

  #windowWords() {
    const { centre, width, name } = this.window;
    const digits = Math.abs(width) < 10 ? 3 : 0;
    const words = this.picture.facts.voi ? "" : `C ${centre.toFixed(digits)} W ${width.toFixed(digits)} `;
    return `${words}${name ?? ""}`.trim();
  }
}
