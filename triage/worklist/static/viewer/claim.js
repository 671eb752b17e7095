// Who reads this study: claim it, give it back. Another reader's claim is taken over on its page.

export class Claim {
  constructor(line, token, speak) {
    this.line = line;
    this.token = token;
    this.speak = speak;
  }

  async toggle() {
    if (!this.line) return this.speak("Your role claims no studies.");
    const mine = this.line.dataset.mine === "yes";
    const url = `${this.line.dataset.claim}/${mine ? "release" : "claim"}`;
    let answer;
    try {
      answer = await fetch(url, { method: "POST", headers: { "X-CSRF-Token": this.token } });
    } catch {
      return this.speak("The server does not answer.");
    }
    if (answer.status === 409) {
      const { owner } = await answer.json();
      return this.speak(`${owner} reads this study. Take it over on the study's page.`);
    }
    if (!answer.ok) return this.speak(`It was not done: the server answered ${answer.status}.`);
    this.#write(!mine);
    this.speak(mine ? "Released." : "Claimed.");
  }

  #write(mine) {
    this.line.dataset.mine = mine ? "yes" : "no";
    this.line.querySelector("[data-owner]").textContent = mine ? "You" : "Nobody";
    this.line.childNodes[1].textContent = mine ? " read this study " : " reads this study ";
    this.line.querySelector("button").firstChild.textContent = mine ? "Release " : "Claim ";
  }
}
