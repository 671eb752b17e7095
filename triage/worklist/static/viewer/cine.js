// Runs through a stack at the pace its header states, or that the reader chose for this stack.
// It never starts by itself.

const SLOWEST_MS = 1000;
const FASTEST_MS = 15;
const USUAL_MS = 100; // where the header states no pace

export class Cine {
  #chosen = new WeakMap(); // stack -> ms, as the reader chose

  constructor() {
    this.pane = null;
  }

  get runs() {
    return this.pane !== null;
  }

  toggle(pane) {
    if (this.runs) return this.stop();
    if (!pane.stack || pane.stack.frames.length < 2) return;
    this.pane = pane;
    this.stack = pane.stack;
    this.last = performance.now();
    this.#turn();
  }

  stop() {
    this.pane = null;
    cancelAnimationFrame(this.waiting);
  }

  // Faster or slower: the stack that runs, else the one that would.
  pace(stack, factor) {
    const paced = this.runs ? this.stack : stack;
    if (paced) this.#chosen.set(paced, bounded(this.#ms(paced) / factor));
  }

  #ms(stack) {
    return this.#chosen.get(stack) ?? bounded(stack.frame_ms || USUAL_MS);
  }

  #turn() {
    this.waiting = requestAnimationFrame(async (now) => {
      if (!this.runs || this.pane.stack !== this.stack) return this.stop();
      const ms = this.#ms(this.stack);
      const late = now - this.last - ms;
      if (late >= 0) {
        this.last = late > ms ? now : this.last + ms; // the mean is right, but nothing is made up for in a rush
        const { pane } = this;
        await pane.go((pane.index + 1) % pane.stack.frames.length); // slower where frames come slower
      }
      if (this.runs) this.#turn();
    });
  }
}

const bounded = (ms) => Math.min(Math.max(ms, FASTEST_MS), SLOWEST_MS);
