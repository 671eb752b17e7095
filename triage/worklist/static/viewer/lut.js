// From stored numbers to grey levels: one table of 65,536 entries, one pass over the pixels.
// Window functions of PS3.3 C.11.2.1.2 and C.11.2.1.3.

const OPAQUE = 0xff000000;

export function level(value, { centre, width, fn }) {
  if (fn === "SIGMOID") return 1 / (1 + Math.exp((-4 * (value - centre)) / width));
  if (fn === "LINEAR_EXACT") return clamp((value - centre) / width + 0.5);
  return clamp((value - (centre - 0.5)) / Math.max(width - 1, 1e-6) + 0.5);
}

function clamp(share) {
  return share < 0 ? 0 : share > 1 ? 1 : share;
}

const grey = (share) => Math.round(share * 255) * 0x010101 + OPAQUE;

// A table from the 16 bits of a stored value, as they lie in memory, to the pixel's colour.
export class Table {
  #entries = new Uint32Array(65536);
  #key = "";

  of(picture, window, inverted) {
    const { slope, intercept } = picture.facts;
    const key = [slope, intercept, window.centre, window.width, window.fn, inverted].join(" ");
    if (key === this.#key) return this.#entries;
    for (let bits = 0; bits < 65536; bits += 1) {
      const stored = bits < 32768 ? bits : bits - 65536;
      const share = level(stored * slope + intercept, window);
      this.#entries[bits] = grey(inverted ? 1 - share : share);
    }
    this.#key = key;
    return this.#entries;
  }
}

// Write a picture into RGBA pixels (a Uint32Array of as many).
export function paint(out, picture, window, inverted, table) {
  if (picture.facts.samples === 3) return paintColour(out, picture.bytes, window, inverted);
  const bits = picture.bits;
  const entries = table.of(picture, window, inverted);
  for (let at = 0; at < out.length; at += 1) out[at] = entries[bits[at]];
}

function paintColour(out, bytes, window, inverted) {
  const step = new Uint8Array(256);
  for (let value = 0; value < 256; value += 1) {
    const share = level(value, window);
    step[value] = Math.round((inverted ? 1 - share : share) * 255);
  }
  for (let at = 0, from = 0; at < out.length; at += 1, from += 3) {
    out[at] = (step[bytes[from]] | (step[bytes[from + 1]] << 8) | (step[bytes[from + 2]] << 16) | OPAQUE) >>> 0;
  }
}

// A window for pictures whose header names none: all but the darkest and the brightest 0.5 %.
export function automatic(picture) {
  const { slope, intercept } = picture.facts;
  const counts = new Uint32Array(65536);
  for (const bits of picture.bits) counts[(bits + 32768) & 65535] += 1;
  const [low, high] = [0.005, 0.995].map((share) => {
    let left = share * picture.bits.length;
    const at = counts.findIndex((count) => (left -= count) < 0);
    return (at - 32768) * slope + intercept;
  });
  return { centre: (low + high) / 2, width: Math.max(high - low, slope), fn: "LINEAR_EXACT", name: "auto" };
}
