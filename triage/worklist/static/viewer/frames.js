// Frames out of the server: what is wanted now before what may be wanted next, within a bound.

const ABREAST = 4;
const KEPT_BYTES = 384 * 2 ** 20;

export class NoPicture extends Error {}

export class Frames {
  #kept = new Map(); // key -> picture, the oldest first
  #bytes = 0;
  #running = new Map(); // key -> { stop, promise, wanted }
  #ahead = new Map(); // who asks -> { keys, next: what is still to be asked for }

  // The picture if it is here already.
  peek(frame, width = 0) {
    const key = keyOf(frame, width);
    const found = this.#kept.get(key);
    if (found) {
      this.#kept.delete(key);
      this.#kept.set(key, found);
    }
    return found;
  }

  // The best there is of a frame: full if it is here, else the size that is asked for.
  best(frame, width) {
    return this.peek(frame, 0) ?? (width ? this.peek(frame, width) : undefined);
  }

  get(frame, width = 0) {
    const found = this.peek(frame, width);
    if (found) return Promise.resolve(found);
    const key = keyOf(frame, width);
    const running = this.#running.get(key) ?? this.#start(key, frame, width);
    running.wanted = true;
    return running.promise;
  }

  // Nobody waits for this frame any more: it may go on as one that is asked for ahead.
  release(frame, width = 0) {
    const running = this.#running.get(keyOf(frame, width));
    if (running) running.wanted = false;
  }

  // Ask for these next, in this order, instead of what the same owner asked for ahead before.
  // What nobody wants any more stops; what another viewport asked for goes on.
  prefetch(owner, frames, width = 0) {
    const keys = new Set(frames.map((frame) => keyOf(frame, width)));
    const next = frames.filter((frame) => !this.#kept.has(keyOf(frame, width))).map((frame) => [frame, width]);
    this.#ahead.set(owner, { keys, next });
    const owners = [...this.#ahead.values()];
    for (const [key, one] of this.#running) {
      if (one.wanted || owners.some((other) => other.keys.has(key))) continue;
      one.stop.abort();
      this.#running.delete(key);
    }
    this.#more();
  }

  #more() {
    while (this.#running.size < ABREAST) {
      const found = this.#next();
      if (!found) return;
      const [frame, width] = found;
      const key = keyOf(frame, width);
      if (this.#kept.has(key) || this.#running.has(key)) continue;
      this.#start(key, frame, width).promise.catch(() => {});
    }
  }

  // One of each owner in turn: no viewport waits until another one has all that it may want.
  #next() {
    for (const [owner, asked] of this.#ahead) {
      if (!asked.next.length) continue;
      this.#ahead.delete(owner);
      this.#ahead.set(owner, asked); // the others come before it now
      return asked.next.shift();
    }
    return undefined;
  }

  #start(key, frame, width) {
    const stop = new AbortController();
    const one = { stop, wanted: false };
    one.promise = load(frame, width, stop.signal)
      .then((picture) => this.#keep(key, picture))
      .finally(() => {
        if (this.#running.get(key) === one) this.#running.delete(key);
        this.#more();
      });
    this.#running.set(key, one);
    return one;
  }

  #keep(key, picture) {
    this.#kept.set(key, picture);
    this.#bytes += picture.size;
    for (const [old, one] of this.#kept) {
      if (this.#bytes <= KEPT_BYTES || old === key) break;
      this.#kept.delete(old);
      this.#bytes -= one.size;
    }
    return picture;
  }
}

const keyOf = (frame, width) => `${frame.url} ${width}`;

async function load(frame, width, signal) {
  if (frame.reason) throw new NoPicture(frame.reason);
  const asked = new URLSearchParams();
  if (width) asked.set("width", width);
  if (frame.voi) asked.set("voi", "true");
  const answer = await ask(`${frame.url}?${asked}`, signal);
  const content = await answer.arrayBuffer();
  const facts = JSON.parse(answer.headers.get("X-Frame"));
  return {
    facts,
    size: content.byteLength,
    bytes: facts.samples === 3 ? new Uint8Array(content) : null,
    bits: facts.samples === 3 ? null : new Uint16Array(content),
    values: facts.samples === 3 ? null : new Int16Array(content),
  };
}

// Ask the server; an ended session leads to the sign-in page, any other trouble says why.
export async function ask(url, signal) {
  let answer;
  try {
    answer = await fetch(url, { signal, headers: { Accept: "application/json" } });
  } catch (why) {
    if (why.name === "AbortError") throw why;
    throw new NoPicture("The server does not answer.");
  }
  if (answer.redirected && new URL(answer.url).pathname === "/login") location.assign("/login");
  if (answer.ok && !answer.redirected) return answer;
  let detail = `The server answered ${answer.status}.`;
  if (answer.headers.get("content-type")?.includes("json")) detail = (await answer.json()).detail ?? detail;
  throw new NoPicture(String(detail));
}
