// The heat map, which exists in research mode alone and is off until somebody presses for it.
// Colours are inferno (Smith and van der Walt, CC0) at 17 points, linear between them.

import { ask } from "./frames.js";

const INFERNO = [
  0x000004, 0x0b0724, 0x210c4a, 0x3b0964, 0x550f6d, 0x6d186e, 0x87216b, 0x9f2a63, 0xb73557,
  0xcc4248, 0xde5238, 0xed6925, 0xf78212, 0xfb9d07, 0xfac228, 0xf2e661, 0xfcffa4,
];
const STEP = 0.1;
const LAST = 255; // the strongest level, as 1 is the weakest

function colour(share) {
  const at = share * (INFERNO.length - 1);
  const low = Math.min(Math.floor(at), INFERNO.length - 2);
  return [16, 8, 0].map((shift) => {
    const [a, b] = [(INFERNO[low] >> shift) & 255, (INFERNO[low + 1] >> shift) & 255];
    return Math.round(a + (b - a) * (at - low));
  });
}

export class Heat {
  #maps = new Map();

  constructor(base, legend) {
    this.base = base;
    this.legend = legend;
    this.on = false;
    this.opacity = 0.4;
    this.said = "";
    this.#bar();
    const range = legend.querySelector("input");
    range.addEventListener("input", () => this.#set(Number(range.value) / 100));
    this.range = range;
  }

  toggle(pane) {
    this.on = !this.on;
    this.legend.hidden = !this.on;
    this.follow(pane);
    pane.draw();
  }

  stronger(pane, sign) {
    this.#set(this.opacity + sign * STEP);
    pane.draw();
  }

  // Have the map of the frame that the pane is at.
  async follow(pane) {
    const frame = pane.frame;
    if (!this.on || !frame || this.#maps.has(frame)) return this.#say(pane);
    this.#maps.set(frame, null);
    try {
      const answer = await ask(`${this.base}/heat/${frame.sop}/${frame.frame}`);
      const facts = JSON.parse(answer.headers.get("X-Heat"));
      this.#maps.set(frame, { facts, image: picture(facts, new Uint8Array(await answer.arrayBuffer())) });
    } catch (why) {
      this.#maps.set(frame, { reason: why.message });
    }
    this.#say(pane);
    pane.draw();
  }

  // Lay the map over the picture. Each of its values stands on every n-th pixel of the image.
  draw(context, pane) {
    const found = this.#maps.get(pane.drawn);
    if (!this.on || !found?.image) return;
    const { step, rows, columns } = found.facts;
    context.setTransform(...pane.view.matrix());
    context.imageSmoothingEnabled = true;
    context.globalAlpha = this.opacity;
    const corner = (1 - step) / 2;
    context.drawImage(found.image, corner, corner, columns * step, rows * step);
    context.globalAlpha = 1;
  }

  #set(opacity) {
    this.opacity = Math.min(Math.max(opacity, 0), 1);
    this.range.value = String(Math.round(this.opacity * 100));
    this.redraw?.();
  }

  #say(pane) {
    const found = this.#maps.get(pane.frame);
    const facts = found?.facts;
    const part = (name) => this.legend.querySelector(`[data-heat=${name}]`);
    part("reason").textContent = found?.reason ?? "";
    if (!facts) return;
    const rarer = (100 * (1 - facts.p)).toFixed(1);
    const series = `series rarer than ${rarer} % of ${facts.n} healthy studies (${facts.stratum})`;
    const n = facts.healthy;
    const some = n && Math.round(facts.least_p * (n + 1)) - 1;
    part("bottom").textContent = n
      ? `As strong a point is in 1 of ${1 / facts.from_p} healthy studies (less is not drawn)`
      : `${Math.round(facts.from * 100)} % of the strongest; less is not drawn`;
    part("top").textContent = n ? `in none of ${n}, from the mark on` : `strongest point; ${series}`;
    part("strongest").textContent = n ? `Strongest here: as strong in ${some || "none"} of ${n}; ${series}.` : "";
    this.#bar(n ? (facts.beyond - 1) / (LAST - 1) : null);
    this.#compare(facts);
    part("size").textContent = `${facts.detector}: map ${facts.map[1]} \u00d7 ${facts.map[0]}, interpolated to ${facts.full[1]} \u00d7 ${facts.full[0]}`;
  }

  // The healthy references, once: they are of the series and not of a frame.
  #compare({ alike, usual }) {
    const shown = this.legend.querySelector(".alike");
    if (!alike || !shown.hidden) return;
    shown.querySelectorAll("figure").forEach((figure, place) => {
      figure.hidden = place > alike.length;
      if (figure.hidden) return;
      figure.querySelector("img").src = `${this.base}/references/${place}`;
      if (place) figure.querySelector("figcaption").textContent = `distance ${alike[place - 1].toFixed(2)}`;
    });
    shown.querySelector("[data-heat=usual]").textContent =
      `A healthy study is usually ${usual.toFixed(2)} from the next one. They explain, and decide nothing.`;
    shown.hidden = false;
  }

  // The mark stands where no healthy study has a point as strong.
  #bar(mark = null) {
    const canvas = this.legend.querySelector("canvas");
    const context = canvas.getContext("2d");
    for (let x = 0; x < canvas.width; x += 1) {
      context.fillStyle = `rgb(${colour(x / (canvas.width - 1)).join(" ")})`;
      context.fillRect(x, 0, 1, canvas.height);
    }
    if (mark === null) return;
    context.fillStyle = "#fff";
    context.fillRect(Math.round(mark * canvas.width) - 1, 0, 2, canvas.height);
  }
}

function picture({ rows, columns }, levels) {
  const image = new ImageData(columns, rows);
  levels.forEach((level, at) => {
    if (level) image.data.set([...colour((level - 1) / (LAST - 1)), 255], at * 4);
  });
  const canvas = new OffscreenCanvas(columns, rows);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}
