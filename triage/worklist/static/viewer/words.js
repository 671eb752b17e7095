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
    form?.querySelector("select").addEventListener("change", () => {
      const said = form.querySelector("[aria-pressed=true]");
      if (said) this.say(said.value);
    });
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
    const body = new URLSearchParams({ csrf_token: this.form.elements.csrf_token.value });
    if (!await this.#post(this.form.dataset.undo, body)) return;
    this.#press("");
    this.speak("Your last word is taken back.");
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
