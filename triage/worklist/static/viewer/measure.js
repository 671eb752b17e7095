// Distances: in millimetres only where the header says how large a pixel is, and how it knows.

const KINDS = {
  patient: "",
  calibrated: " (calibrated)",
  detector: " at detector",
  scanned: " as scanned",
};

// What lies between two pixels, in words.
export function distance(look, from, to) {
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const region = look.regions?.find(({ box }) => inside(box, from) && inside(box, to));
  if (region) return `${millimetres(region.spacing_mm, dx, dy)} mm (ultrasound region)`;
  if (look.spacing_mm && !look.regions?.length) {
    return `${millimetres(look.spacing_mm, dx, dy)} mm${KINDS[look.spacing_kind] ?? ""}`;
  }
  return `${Math.hypot(dx, dy).toFixed(1)} px (size of a pixel unknown)`;
}

function millimetres([down, across], dx, dy) {
  return Math.hypot(dx * across, dy * down).toFixed(1);
}

function inside([left, top, right, bottom], [x, y]) {
  return x >= left && x <= right + 1 && y >= top && y <= bottom + 1;
}

// The lines that were laid on frames; they stay with their frame until they are removed.
export class Lines {
  #of = new Map();

  on(frame) {
    return this.#of.get(frame) ?? [];
  }

  add(frame, from) {
    const line = { from, to: from };
    this.#of.set(frame, [...this.on(frame), line]);
    return line;
  }

  drop(frame) {
    this.#of.set(frame, this.on(frame).slice(0, -1));
  }

  clear() {
    this.#of.clear();
  }
}

export function draw(context, lines, look, view, ratio) {
  context.lineWidth = 1.5 * ratio;
  context.font = `${13 * ratio}px system-ui, sans-serif`;
  for (const { from, to } of lines) {
    const [[x1, y1], [x2, y2]] = [view.screen(from), view.screen(to)];
    context.strokeStyle = "#000";
    context.setLineDash([]);
    stroke(context, x1, y1, x2, y2, 3.5 * ratio);
    context.strokeStyle = "#f0e442";
    stroke(context, x1, y1, x2, y2, 1.5 * ratio);
    const text = distance(look, from, to);
    context.lineWidth = 4 * ratio;
    context.strokeStyle = "#000";
    context.strokeText(text, x2 + 8 * ratio, y2 - 6 * ratio);
    context.fillStyle = "#f0e442";
    context.fillText(text, x2 + 8 * ratio, y2 - 6 * ratio);
  }
}

function stroke(context, x1, y1, x2, y2, width) {
  context.lineWidth = width;
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  context.stroke();
}

export function cross(context, [x, y], ratio) {
  context.strokeStyle = "#f0e442";
  context.lineWidth = 1.5 * ratio;
  context.beginPath();
  context.moveTo(x - 12 * ratio, y);
  context.lineTo(x + 12 * ratio, y);
  context.moveTo(x, y - 12 * ratio);
  context.lineTo(x, y + 12 * ratio);
  context.stroke();
}
