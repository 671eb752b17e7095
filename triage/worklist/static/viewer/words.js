// The reader's word on the decisive finding, in one key, without leaving the picture.

export class Words {
  constructor(form, speak) {
    this.form = form;
    this.speak = speak;
    form?.addEventListener("submit", (event) => {
      event.preventDefault();
      const button = event.submitter;
      if (button?.name === "verdict") this.say(button.value);
      else this.undo();
    });
    const reason = form?.querySelector("select");
    reason?.addEventListener("pointerdown", () => { this.pointed = true; });
    reason?.addEventListener("keydown", () => { this.pointed = false; });
    reason?.addEventListener("change", () => {
      this.chosen = true;
      if (this.pointed) this.#because();
    });
    reason?.addEventListener("blur", () => this.#because());
  }

  // The reason of a word that stands: not each one that an arrow key passes.
  #because() {
    const said = this.form.querySelector("[aria-pressed=true]");
    if (this.chosen && said) this.say(said.value);
    this.chosen = false;
  }

  async say(verdict) {
    const button = this.form?.querySelector(`button[value=${verdict}]`);
    if (!button) return this.speak("There is no finding to assess.");
    const body = new URLSearchParams(new FormData(this.form));
    body.set("verdict", verdict);
    if (!await this.#post(this.form.getAttribute("action"), body)) return;
    this.#press(verdict);
    this.speak(`You said: ${verdict}.`);
  }

  async undo() {
    const { csrf_token: token, finding } = this.form.elements; // of this finding alone, not of the study
    const body = new URLSearchParams({ csrf_token: token.value, finding: finding.value });
    if (!await this.#post(this.form.dataset.undo, body)) return;
    this.#press("");
    this.speak("Your word on this finding is taken back.");
  }

  #press(verdict) {
    for (const one of this.form.querySelectorAll("button[name=verdict]")) {
      one.setAttribute("aria-pressed", String(one.value === verdict));
    }
    this.form.querySelector("[data-undo-button]").hidden = !verdict;
  }

  async #post(url, body) {
    try {
      const answer = await fetch(url, { method: "POST", body, redirect: "manual" });
      if (answer.type === "opaqueredirect" || answer.ok) return true;
      this.speak(answer.status === 401 ? "Sign in first." : "It was not written: the study has changed. Reload the page.");
    } catch {
      this.speak("It was not written: the server does not answer.");
    }
    return false;
  }
}
