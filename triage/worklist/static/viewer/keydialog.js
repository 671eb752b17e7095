// The key map on the screen, where each key can be changed, and all single keys switched off.

import { named, written } from "./keys.js";

export class KeyDialog {
  constructor(keys, dialog, { works = () => true, fixed = [], changed = () => {} }) {
    this.keys = keys;
    this.works = works; // which actions there are on this page
    this.fixed = fixed; // [words, key] of keys that cannot be changed
    this.changed = changed;
    this.dialog = dialog;
    this.list = dialog.querySelector("tbody");
    this.said = dialog.querySelector("[role=status]");
    const box = dialog.querySelector("[data-single-keys]");
    box.checked = keys.on;
    box.addEventListener("change", () => (keys.on = box.checked));
    dialog.querySelector("[data-reset-keys]").addEventListener("click", () => {
      keys.reset();
      this.#fill();
      this.changed();
      this.said.textContent = "All keys are as they were delivered.";
    });
    dialog.addEventListener("close", () => this.#stop());
  }

  open() {
    this.#fill();
    this.dialog.showModal();
  }

  #fill() {
    const actions = Object.keys(this.keys.actions).filter((action) => this.works(action));
    this.list.replaceChildren(
      ...actions.map((action) => line(this.#said(action), written(this.keys.of(action)), this.#button(action))),
      ...this.fixed.map(([said, key]) => line(said, key, "")),
    );
  }

  #said(action) {
    return this.keys.actions[action][0];
  }

  #button(action) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Change";
    button.setAttribute("aria-label", `Change the key of: ${this.#said(action)}`);
    button.dataset.action = action;
    button.addEventListener("click", () => this.#listen(action));
    return button;
  }

  #listen(action) {
    this.#stop();
    this.said.textContent = `Press the new key of: ${this.#said(action)}. Backspace takes its key away, Esc leaves it.`;
    this.waiting = (event) => {
      if (event.key === "Tab" || !(named(event) || event.key === "Escape")) return;
      event.preventDefault();
      event.stopPropagation();
      if (event.key !== "Escape") this.keys.give(action, event.key === "Backspace" ? "" : named(event));
      this.#stop();
      this.#fill();
      this.changed();
      this.said.textContent = `${this.#said(action)}: ${written(this.keys.of(action))}.`;
      this.list.querySelector(`[data-action="${action}"]`).focus();
    };
    document.addEventListener("keydown", this.waiting, true);
  }

  #stop() {
    if (this.waiting) document.removeEventListener("keydown", this.waiting, true);
    this.waiting = null;
  }
}

function line(said, key, change) {
  const row = document.createElement("tr");
  const [name, shown, button] = ["th", "td", "td"].map((tag) => document.createElement(tag));
  name.scope = "row";
  name.textContent = said;
  shown.append(Object.assign(document.createElement("kbd"), { textContent: key }));
  button.append(change);
  row.append(name, shown, button);
  return row;
}
