// What every page shares: elements, requests, streams, messages, settings.

/** An element with attributes, listeners (`onclick`) and children; text is always text, never markup. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "style") for (const [key, each] of Object.entries(value)) element.style.setProperty(key, each);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const $ = (id) => document.getElementById(id);

const memory = (store) => ({
  get(key) { try { return store.getItem(key) ?? ""; } catch { return ""; } },
  set(key, value) { try { value ? store.setItem(key, value) : store.removeItem(key); } catch { /* forbidden */ } },
});
export const kept = memory(window.localStorage);
const tab = memory(window.sessionStorage);

function headers() {
  const found = { "Content-Type": "application/json" };
  if (tab.get("studio-key")) found["X-Api-Key"] = tab.get("studio-key");
  return found;
}

export class Refused extends Error {
  constructor(message, status) { super(message); this.status = status; }
}

async function ask(path, { method = "GET", body, signal } = {}) {
  let answer;
  try {
    answer = await fetch(path, { method, signal, headers: headers(), body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (cause) {
    if (cause.name === "AbortError") throw cause;
    throw new Refused("The studio does not answer. Is it still running?", 0);
  }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  throw new Refused(told.error ?? `The studio answered with status ${answer.status}.`, answer.status);
}

export const request = async (path, options) => (await ask(path, options)).json();

/** Events of a streamed answer, one JSON object a line. */
export async function* stream(path, options) {
  const reader = (await ask(path, options)).body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line) yield JSON.parse(line);
  }
}

export function toast(message, kind = "info") {
  const note = h("p", { class: `toast ${kind}` }, message, h("button", { type: "button", "aria-label": "Dismiss", onclick: () => note.remove() }, "×"));
  $("toasts").append(note);
  setTimeout(() => note.remove(), kind === "fault" ? 12000 : 5000);
}

export function ago(seconds) {
  if (seconds < 90) return "just now";
  for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
    const count = Math.round(seconds / size);
    if (count >= 1) return `${count} ${unit}${count === 1 ? "" : "s"} ago`;
  }
}

/** Calls again and again while the page is seen; a failure is left to the next time. */
export function everyFew(milliseconds, work) {
  setInterval(() => { if (!document.hidden) work().catch(() => {}); }, milliseconds);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) work().catch(() => {}); });
}

/** Grows with its text. */
export function growing(area) {
  const fit = () => { area.style.height = "auto"; area.style.height = `${Math.min(area.scrollHeight + 2, 220)}px`; };
  area.addEventListener("input", fit);
  return fit;
}

export function ring(score, label) {
  const turn = 2 * Math.PI * 15;
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 36 36");
  svg.setAttribute("class", `ring ${score > 0.7 ? "good" : score < 0.5 ? "poor" : "fair"}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label ?? `score ${score.toFixed(2)}`);
  for (const [name, share] of [["track", 1], ["value", score]]) {
    const circle = document.createElementNS(svg.namespaceURI, "circle");
    for (const [key, value] of Object.entries({ cx: 18, cy: 18, r: 15, class: name, "stroke-dasharray": `${turn * share} ${turn}` })) circle.setAttribute(key, value);
    svg.append(circle);
  }
  const text = document.createElementNS(svg.namespaceURI, "text");
  text.setAttribute("x", 18); text.setAttribute("y", 18);
  text.textContent = score.toFixed(2).replace(/^0/, "");
  svg.append(text);
  return svg;
}

let modelsAsked;
/** The API's models, asked once a page; the lamp shows whether it answered. */
export function models(again = false) {
  if (!modelsAsked || again) {
    modelsAsked = request("/api/models").then(
      (found) => { lamp("on", `${found.api} answers with ${found.models.length} model${found.models.length === 1 ? "" : "s"}.`); return found.models; },
      (fault) => { lamp("off", fault.message); throw fault; },
    );
    modelsAsked.catch(() => {});
  }
  return modelsAsked;
}

function lamp(state, text) {
  $("lamp").dataset.state = state;
  $("lamp-text").textContent = text;
  $("api-state").textContent = text;
}

function settings() {
  const dialog = $("settings");
  $("open-settings").addEventListener("click", () => { $("api-key").value = tab.get("studio-key"); dialog.showModal(); });
  dialog.addEventListener("close", () => {
    if ($("api-key").value === tab.get("studio-key")) return;
    tab.set("studio-key", $("api-key").value.trim());
    models(true).then(() => location.reload(), () => {});
  });
  const chosen = kept.get("studio-theme") || "auto";
  for (const input of $("theme").querySelectorAll("input")) {
    input.checked = input.value === chosen;
    input.addEventListener("change", () => {
      kept.set("studio-theme", input.value === "auto" ? "" : input.value);
      if (input.value === "auto") delete document.documentElement.dataset.theme;
      else document.documentElement.dataset.theme = input.value;
    });
  }
}
settings();
