// What a reader does to a row: claims, and a word on the finding that it tells of.

import { able, keys } from "./pagekeys.js";
import { DEEDS, body, byId, speak, tell } from "./triage.js";
import { written } from "./viewer/keys.js";
import { ask, isLive, list } from "./worklist.js";

const here = () => document.activeElement?.closest("#rows tr[id]");

async function send(row, what, fields = {}) {
  const answer = await fetch(`/studies/${row.id.replace("study-", "")}/${what}`, {
    method: "POST",
    headers: { "X-CSRF-Token": body.dataset.csrf },
    body: new URLSearchParams(fields),
  }).catch(() => null);
  if (answer?.status === 401) location.assign("/login");
  return answer;
}

async function post(row, what, fields = {}) {
  const answer = await send(row, what, fields);
  if (answer?.status === 409) return takeOver(row, (await answer.json()).owner);
  if (!answer?.ok) return speak("That did not work. Reload the page and try again.");
  speak(what === "release" ? "Released" : "Claimed");
  if (isLive) ask();
  else location.reload();
}

function takeOver(row, owner) {
  const dialog = byId("takeover");
  dialog.querySelector(".owner").textContent = owner || "Another reader";
  dialog.returnValue = "";
  dialog.showModal();
  dialog.addEventListener("close", () => {
    if (dialog.returnValue) post(row, "claim", { reason: dialog.returnValue });
    row.querySelector("a.open")?.focus();
  }, { once: true });
}

function claim(row) {
  if (!row?.querySelector(".take")) return;
  const owner = row.dataset.claim;
  if (owner === "mine") post(row, "release");
  else if (owner) takeOver(row, owner);
  else post(row, "claim");
}

DEEDS.c = () => claim(here());
document.addEventListener("click", (event) => {
  if (event.target.matches?.("#rows .take")) claim(event.target.closest("tr"));
});
byId("takeover")?.addEventListener("keydown", (event) => {
  const chosen = event.currentTarget.querySelectorAll(".reason")[Number(event.key) - 1];
  if (chosen) chosen.click();
});

// --- a word on the finding that the row tells of -------------------------------------------------

async function say(row, verdict) {
  if (!row) return;
  const who = row.querySelector("a.open").textContent;
  if (verdict && row.dataset.gone) return tell(`${who}: nothing was written. It has left this list: open it.`);
  const fields = { verdict, finding: "decisive", seen: list().dataset.now };
  const answer = await (verdict ? send(row, "feedback", fields) : send(row, "feedback/undo"));
  if (answer?.status === 400) tell(`${who}: ${verdict ? "nothing was written. No detector has spoken about it, or it has changed: open it." : "there is no word of yours to take back."}`);
  else if (!answer?.ok) tell("That did not work. Reload the page and try again.");
  else if (verdict) tell(`${who}: you said ${verdict}. Undo: ${written(keys.of("z"))}. A reason can be given on its page.`);
  else tell(`${who}: your last word is taken back.`);
}

if (able("say")) {
  for (const [key, verdict] of [["a", "agree"], ["d", "disagree"], ["u", "unsure"], ["z", ""]]) {
    DEEDS[key] = () => say(here(), verdict);
  }
}
