// Runs through a stack at the pace its header states. It never starts by itself.

const SLOWEST_MS = 1000;
const FASTEST_MS = 15;

export class Cine {
  constructor() {
    this.pane = null;
    this.ms = 0;
  }

  get runs() {
    return this.pane !== null;
  }

  toggle(pane) {
    if (this.runs) return this.stop();
    if (!pane.stack || pane.stack.frames.length < 2) return;
    this.pane = pane;
    this.stack = pane.stack;
    this.ms = bounded(this.ms || pane.stack.frame_ms || 100);
    this.last = performance.now();
    this.#turn();
  }

  stop() {
    this.pane = null;
    cancelAnimationFrame(this.waiting);
  }

  pace(factor) {
    this.ms = bounded((this.ms || 100) / factor);
  }

  #turn() {
    this.waiting = requestAnimationFrame(async (now) => {
      if (!this.runs || this.pane.stack !== this.stack) return this.stop();
      if (now - this.last >= this.ms) {
        this.last = now;
        const { pane } = this;
        await pane.go((pane.index + 1) % pane.stack.frames.length); // slower where frames come slower
      }
      if (this.runs) this.#turn();
    });
  }
}

const bounded = (ms) => Math.min(Math.max(ms, FASTEST_MS), SLOWEST_MS);
