// The filters: when a choice is asked for, and the choices that were too many for the page.

import { byId } from "./triage.js";

const filters = byId("filters");

// A choice by pointer is asked for at once; by keys every value on the way would be: Enter asks.
let pointed = false;
filters?.addEventListener("pointerdown", () => { pointed = true; });
filters?.addEventListener("keydown", (event) => {
  pointed = false;
  if (event.key !== "Enter" || !event.target.matches("select")) return;
  event.preventDefault();
  filters.requestSubmit();
});
filters?.addEventListener("change", (event) => {
  if (pointed && event.target.matches("select")) filters.requestSubmit();
});
// Nothing is asked for what is not chosen: the link stays short.
filters?.addEventListener("formdata", (event) => {
  for (const [key, value] of [...event.formData]) if (!value) event.formData.delete(key);
});

// Tried again at the next touch where the server did not answer.
async function fill() {
  const later = filters.querySelectorAll("select[data-later]");
  if (!later.length) return;
  const answer = await fetch("/studies/filters").catch(() => null);
  if (!answer?.ok) return;
  const whole = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const select of later) {
    const { value, name } = select; // which may have left the choices since
    const choices = [...whole.querySelectorAll(`#filters [name=${name}] option`)];
    if (value && !choices.some((one) => one.value === value)) choices.push(select.selectedOptions[0]);
    select.replaceChildren(...choices);
    select.value = value;
    delete select.dataset.later;
  }
}

if (filters) {
  filters.addEventListener("focusin", fill);
  fill();
}
