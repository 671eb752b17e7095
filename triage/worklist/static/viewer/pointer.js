// The mouse on a viewport: left does what the tool says, right zooms, middle pans, the wheel leafs.

export const TOOLS = ["window", "zoom", "pan", "measure"];
const BUTTONS = { 1: "pan", 2: "zoom" };
const WHEEL = 40; // of a touchpad's delta, to a frame

export class Pointer {
  constructor(pane, deck) {
    this.pane = pane;
    this.deck = deck; // knows the tool, and which pane is active
    this.left = 0;
    const { element } = pane;
    element.addEventListener("pointerdown", (event) => this.#down(event));
    element.addEventListener("pointermove", (event) => this.#move(event));
    element.addEventListener("pointerup", (event) => this.#up(event));
    element.addEventListener("pointercancel", (event) => this.#up(event));
    element.addEventListener("contextmenu", (event) => event.preventDefault());
    element.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    element.addEventListener("dblclick", () => deck.do("fit"));
  }

  #down(event) {
    if (event.target.closest("select, button")) return;
    this.deck.activate(this.pane);
    this.tool = BUTTONS[event.button] ?? this.deck.tool;
    this.at = [event.clientX, event.clientY];
    this.pane.element.setPointerCapture(event.pointerId);
    if (this.tool === "measure" && this.pane.picture) {
      this.line = this.pane.lines.add(this.pane.frame, this.#pixel(event));
    }
    if (event.button === 1) event.preventDefault();
  }

  #move(event) {
    this.deck.point(this.pane, this.#pixel(event));
    if (!this.at) return;
    const [dx, dy] = [event.clientX - this.at[0], event.clientY - this.at[1]];
    this.at = [event.clientX, event.clientY];
    const { pane } = this;
    if (this.tool === "window") return pane.drag(dx, dy);
    if (this.tool === "pan") pane.view.pan(dx * devicePixelRatio, dy * devicePixelRatio);
    if (this.tool === "zoom") pane.view.zoomTo(pane.view.scale * Math.exp(-dy / 200));
    if (this.tool === "measure" && this.line) this.line.to = this.#pixel(event);
    pane.draw();
  }

  #up() {
    if (this.at && this.tool === "zoom") this.pane.load();
    this.at = null;
    this.line = null;
  }

  #wheel(event) {
    event.preventDefault();
    this.deck.activate(this.pane);
    if (event.ctrlKey) {
      const around = this.#screen(event);
      this.pane.view.zoomTo(this.pane.view.scale * Math.exp(-event.deltaY / 300), around);
      this.pane.load();
      return;
    }
    this.left += event.deltaMode === 0 ? event.deltaY / WHEEL : Math.sign(event.deltaY);
    const steps = Math.trunc(this.left);
    if (!steps) return;
    this.left -= steps;
    this.pane.step(Math.abs(event.deltaY) >= 100 ? Math.sign(steps) : steps);
  }

  #screen(event) {
    const box = this.pane.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * devicePixelRatio, (event.clientY - box.top) * devicePixelRatio];
  }

  #pixel(event) {
    return this.pane.view.pixel(this.#screen(event));
  }
}
