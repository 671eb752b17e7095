// A person is here: the session stays.

const EVERY_MS = 60_000;
let last = Date.now();

function active() {
  const token = document.body.dataset.csrf;
  if (!token || Date.now() - last < EVERY_MS) return;
  last = Date.now();
  fetch("/session/active", { method: "POST", headers: { "X-CSRF-Token": token } }).catch(() => {});
}

for (const kind of ["pointermove", "keydown", "wheel"]) {
  document.addEventListener(kind, active, { passive: true });
}
