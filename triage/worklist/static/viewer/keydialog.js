// The key map on the screen, where each key can be changed, and all single keys switched off.

import { ACTIONS, named, written } from "./keys.js";

export class KeyDialog {
  constructor(keys, dialog) {
    this.keys = keys;
    this.dialog = dialog;
    this.list = dialog.querySelector("tbody");
    this.said = dialog.querySelector("[role=status]");
    const box = dialog.querySelector("[data-single-keys]");
    box.checked = keys.on;
    box.addEventListener("change", () => (keys.on = box.checked));
    dialog.querySelector("[data-reset-keys]").addEventListener("click", () => {
      keys.reset();
      this.#fill();
      this.said.textContent = "All keys are as they were delivered.";
    });
    dialog.addEventListener("close", () => this.#stop());
  }

  open() {
    this.#fill();
    this.dialog.showModal();
  }

  #fill() {
    this.list.replaceChildren(...Object.keys(ACTIONS).map((action) => this.#row(action)));
  }

  #row(action) {
    const row = document.createElement("tr");
    const [name, key, change] = [document.createElement("th"), document.createElement("td"), document.createElement("td")];
    name.scope = "row";
    name.textContent = ACTIONS[action][0];
    const shown = document.createElement("kbd");
    shown.textContent = written(this.keys.of(action));
    key.append(shown);
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Change";
    button.setAttribute("aria-label", `Change the key of: ${ACTIONS[action][0]}`);
    button.dataset.action = action;
    button.addEventListener("click", () => this.#listen(action));
    change.append(button);
    row.append(name, key, change);
    return row;
  }

  #listen(action) {
    this.#stop();
    this.said.textContent = `Press the new key of: ${ACTIONS[action][0]}. Backspace takes its key away, Esc leaves it.`;
    this.waiting = (event) => {
      if (event.key === "Tab" || !(named(event) || event.key === "Escape")) return;
      event.preventDefault();
      event.stopPropagation();
      if (event.key !== "Escape") this.keys.give(action, event.key === "Backspace" ? "" : named(event));
      this.#stop();
      this.#fill();
      this.said.textContent = `${ACTIONS[action][0]}: ${written(this.keys.of(action))}.`;
      this.list.querySelector(`[data-action="${action}"]`).focus();
    };
    document.addEventListener("keydown", this.waiting, true);
  }

  #stop() {
    if (this.waiting) document.removeEventListener("keydown", this.waiting, true);
    this.waiting = null;
  }
}
