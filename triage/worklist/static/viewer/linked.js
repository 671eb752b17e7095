// Two stacks that scroll together: by millimetres where both say where they are, else by images.

export class Link {
  constructor() {
    this.on = true;
    this.anchors = null;
  }

  // Hold the two where they are now: from here they move alike.
  hold(one, other) {
    this.anchors = new Map([[one, one.index], [other, other.index]]);
  }

  toggle(one, other) {
    this.on = !this.on;
    if (this.on) this.hold(one, other);
  }

  // Give the frame of the other stack that belongs to where the moved one is now.
  target(moved, other) {
    const [from, to] = [this.anchors.get(moved), this.anchors.get(other)];
    const [a, b] = [moved.stack.frames, other.stack.frames];
    const known = [a[from], a[moved.index], b[to]].every((frame) => Number.isFinite(frame?.at_mm));
    if (!known) return to + moved.index - from;
    const sign = alike(moved.look.axes, other.look.axes);
    const wanted = b[to].at_mm + sign * (a[moved.index].at_mm - a[from].at_mm);
    const gaps = b.map((frame) => Math.abs((frame.at_mm ?? Infinity) - wanted));
    return gaps.indexOf(Math.min(...gaps));
  }
}

// 1 where both stacks run the same way through the body, -1 where they run against each other.
function alike(one, other) {
  const [a, b] = [normal(one), normal(other)];
  return a.reduce((sum, part, axis) => sum + part * b[axis], 0) < 0 ? -1 : 1;
}

function normal([a, b, c, d, e, f]) {
  return [b * f - c * e, c * d - a * f, a * e - b * d];
}

// The series of a prior that compares best: same modality, alike in name, alike in length.
export function counterpart(stack, others) {
  const seen = others.filter((one) => one.frames.some((frame) => !frame.reason));
  const score = (one) => (
    (one.modality === stack.modality ? 4 : 0)
    + (one.description && one.description === stack.description ? 2 : 0)
    + Math.min(one.frames.length, stack.frames.length) / Math.max(one.frames.length, stack.frames.length)
  );
  return seen.sort((one, other) => score(other) - score(one))[0];
}
