// Where a picture's pixels lie on the screen: scale, centre, quarter turns and mirrors; and back.
//
// screen = middle + scale * turn * (1, aspect) * (pixel - centre); all in device pixels.

const RIGHT = [0, -1, 1, 0];
const LEFT = [0, 1, -1, 0];
const MIRRORS = { h: [-1, 0, 0, 1], v: [1, 0, 0, -1] };
const MOST = 64;

function after(a, b) {
  return [
    a[0] * b[0] + a[1] * b[2], a[0] * b[1] + a[1] * b[3],
    a[2] * b[0] + a[3] * b[2], a[2] * b[1] + a[3] * b[3],
  ];
}

export class View {
  constructor() {
    this.turn = [1, 0, 0, 1];
    this.size = [1, 1]; // of the screen
    this.full = [1, 1]; // columns, rows of the picture
    this.aspect = 1;
    this.fit();
  }

  // Take a picture of another size; where it is the same, the place stays.
  show(columns, rows, aspect) {
    const same = this.full[0] === columns && this.full[1] === rows && this.aspect === aspect;
    this.full = [columns, rows];
    this.aspect = aspect;
    if (!same) this.fit();
  }

  resize(width, height) {
    const fitted = this.isFitted;
    this.size = [width, height];
    if (fitted) this.fit();
  }

  get fitting() {
    const across = Math.abs(this.turn[0]) === 1;
    const [wide, high] = [this.full[0], this.full[1] * this.aspect];
    return Math.min(this.size[0] / (across ? wide : high), this.size[1] / (across ? high : wide));
  }

  fit() {
    this.isFitted = true;
    this.scale = this.fitting;
    this.centre = [this.full[0] / 2, this.full[1] / 2];
  }

  reset() {
    this.turn = [1, 0, 0, 1];
    this.fit();
  }

  // One pixel of the picture on one of the screen, and the grids on each other.
  exact() {
    this.zoomTo(1);
    const sides = this.turn[0] ? this.size : [this.size[1], this.size[0]];
    this.centre = this.centre.map((one, axis) => Math.round(one - sides[axis] / 2) + sides[axis] / 2);
  }

  zoomTo(scale, around = [this.size[0] / 2, this.size[1] / 2]) {
    const fixed = this.pixel(around);
    this.scale = Math.min(Math.max(scale, Math.min(this.fitting, 1) / 8), MOST);
    this.isFitted = false;
    const moved = this.pixel(around);
    this.centre = this.centre.map((one, axis) => one + fixed[axis] - moved[axis]);
  }

  pan(x, y) {
    const [dx, dy] = this.#back(x / this.scale, y / this.scale);
    this.centre = [this.centre[0] - dx, this.centre[1] - dy];
    this.isFitted = false;
  }

  rotate(right = true) {
    this.turn = after(right ? RIGHT : LEFT, this.turn);
    if (this.isFitted) this.fit();
  }

  flip(way) {
    this.turn = after(MIRRORS[way], this.turn);
  }

  // The canvas transform that draws the picture, its corner at 0 0 and one unit a pixel.
  matrix() {
    const [a, b, c, d] = this.turn;
    const s = this.scale;
    const [x, y] = this.screen([0, 0]);
    return [a * s, c * s, b * s * this.aspect, d * s * this.aspect, x, y];
  }

  screen([x, y]) {
    const [dx, dy] = [x - this.centre[0], (y - this.centre[1]) * this.aspect];
    const [a, b, c, d] = this.turn;
    return [
      this.size[0] / 2 + this.scale * (a * dx + b * dy),
      this.size[1] / 2 + this.scale * (c * dx + d * dy),
    ];
  }

  pixel([x, y]) {
    const [dx, dy] = this.#back((x - this.size[0] / 2) / this.scale, (y - this.size[1] / 2) / this.scale);
    return [this.centre[0] + dx, this.centre[1] + dy];
  }

  #back(x, y) {
    const [a, b, c, d] = this.turn; // its inverse is its transpose
    return [a * x + c * y, (b * x + d * y) / this.aspect];
  }
}

const WAYS = [["L", "R"], ["P", "A"], ["H", "F"]];
const OPPOSITE = { L: "R", R: "L", P: "A", A: "P", H: "F", F: "H" };

// The letters at the screen's right, bottom, left and top; empty where nobody knows.
export function letters(look, view) {
  const ways = [[1, 0], [0, 1], [-1, 0], [0, -1]];
  return ways.map(([x, y]) => {
    const [a, b, c, d] = view.turn;
    const [along, down] = [Math.round(a * x + c * y), Math.round(b * x + d * y)];
    if (look.axes) return spatial(look.axes, along, down);
    if (look.sides?.length === 2) return stated(look.sides[along ? 0 : 1], along + down);
    return "";
  });
}

function spatial(axes, along, down) {
  return [0, 1, 2]
    .map((axis) => [axis, along * axes[axis] + down * axes[axis + 3]])
    .filter(([, part]) => Math.abs(part) > 0.25)
    .sort((one, other) => Math.abs(other[1]) - Math.abs(one[1]))
    .map(([axis, part]) => WAYS[axis][part > 0 ? 0 : 1])
    .join("");
}

function stated(side, sign) {
  if (sign > 0) return side;
  return [...side].map((one) => OPPOSITE[one] ?? "").join("");
}
