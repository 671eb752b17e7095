// The list of series: a small picture, what it is, how many images. One button each.

const SMALL = 96;

export class Rail {
  constructor(list, frames, choose) {
    this.list = list;
    this.frames = frames;
    this.choose = choose;
  }

  fill(stacks) {
    this.stacks = stacks;
    this.list.replaceChildren(...stacks.map((stack, at) => this.#item(stack, at)));
  }

  mark(stack) {
    [...this.list.children].forEach((item, at) => {
      const button = item.querySelector("button");
      if (this.stacks[at] === stack) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    });
  }

  #item(stack, at) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    const [name, count] = [document.createElement("bdi"), document.createElement("small")];
    name.textContent = [stack.modality, stack.description || `series ${stack.number ?? at + 1}`].join(" ");
    const seen = stack.frames.filter((frame) => !frame.reason);
    count.textContent = seen.length ? images(seen.length) : stack.frames[0]?.reason ?? "empty";
    const canvas = document.createElement("canvas");
    canvas.width = SMALL;
    canvas.height = SMALL;
    canvas.setAttribute("aria-hidden", "true");
    button.append(canvas, name, count);
    button.addEventListener("click", () => this.choose(stack));
    item.append(button);
    const middle = seen[Math.floor(seen.length / 2)];
    if (middle) this.#picture(canvas, stack, middle);
    return item;
  }

  async #picture(canvas, stack, frame) {
    const { Table, paint } = await import("./lut.js");
    const { first } = await import("./windows.js");
    try {
      const look = stack.looks[frame.look];
      const picture = await this.frames.get({ ...frame, voi: look.table }, SMALL);
      const { rows, columns, inverted } = picture.facts;
      const image = new ImageData(columns, rows);
      paint(new Uint32Array(image.data.buffer), picture, first(look, picture), inverted, new Table());
      const source = new OffscreenCanvas(columns, rows);
      source.getContext("2d").putImageData(image, 0, 0);
      const scale = Math.min(SMALL / columns, SMALL / (rows * look.aspect));
      const [wide, high] = [columns * scale, rows * look.aspect * scale];
      canvas.getContext("2d").drawImage(source, (SMALL - wide) / 2, (SMALL - high) / 2, wide, high);
    } catch {
      // the series itself says why, once it is opened
    }
  }
}

const images = (count) => `${count} ${count === 1 ? "image" : "images"}`;
