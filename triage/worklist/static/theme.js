// Dark or light: written into a cookie, so that the server paints the next page right at once.

const YEAR_S = 31_536_000;
const root = document.documentElement;
const button = document.getElementById("theme-button");

function say() {
  button.textContent = root.dataset.theme === "light" ? "Dark" : "Light";
  button.setAttribute("aria-label", `Change to the ${button.textContent.toLowerCase()} theme`);
}

button.addEventListener("click", () => {
  root.dataset.theme = root.dataset.theme === "light" ? "dark" : "light";
  document.querySelector("meta[name=color-scheme]").content = root.dataset.theme;
  document.cookie = `triage-theme=${root.dataset.theme}; path=/; max-age=${YEAR_S}; samesite=lax`;
  say();
});
button.hidden = false;
say();
