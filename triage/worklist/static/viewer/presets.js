// The windows that the active viewport offers, to be chosen without a single key.

export class Presets {
  constructor(select, deck) {
    this.select = select;
    this.deck = deck;
    select.addEventListener("pointerdown", () => { this.pointed = true; });
    select.addEventListener("keydown", () => { this.pointed = false; });
    select.addEventListener("change", () => this.#take());
    deck.body.addEventListener("drawn", () => this.tell());
  }

  // What there is to choose, and which of it is shown.
  tell() {
    const { presets, picture, window } = this.deck.active;
    const names = picture ? presets.map((one) => one.name) : [];
    const told = names.join("\n");
    if (told !== this.told) this.#fill(names);
    this.told = told;
    this.select.disabled = !names.length;
    const own = this.select.options[0];
    if (own) own.textContent = window?.name || (picture ? "own window" : "no window");
    const at = String(names.indexOf(window?.name));
    if (this.select.value !== at) this.select.value = at;
  }

  // Back to the picture from a click, where arrows leaf again; not from under a key.
  #take() {
    this.deck.do(`preset${Number(this.select.value) + 1}`);
    if (this.pointed) this.deck.active.element.focus();
  }

  // The first stands for a window that is none of these: dragged, or the header's.
  #fill(names) {
    this.select.replaceChildren(...["", ...names].map((name, at) => {
      const option = document.createElement("option");
      option.value = String(at - 1);
      option.textContent = name;
      option.hidden = !at;
      return option;
    }));
  }
}
