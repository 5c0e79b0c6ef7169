// The constitutions: a gallery, and a workbench that checks what is written while it is written.
import { $, h, kept, models, request, ring, stream, toast } from "./kit.js";

const START = `meta:
  name: "New Persona"
  version: "1.0"
  description: ""

persona:
  identity: |
    You are New Persona.
  voice:
    tone: ""
    formality: ""
    vocabulary: []

directives:
  personality: []
  behavior: []
  constraints: []

safety:
  refusals: []
  boundaries: []

examples: []
`;
let cards = [];
let file = null; // { name, hash, text, versions }; hash is empty for a new one
let checked = null;
let checking = 0;
let preview = null;

async function showGallery() {
  $("workbench").hidden = true;
  $("gallery").hidden = false;
  const found = await request("/api/constitutions");
  cards = found.constitutions;
  $("cards").replaceChildren(...cards.map((each) => h("a", { class: "card link", href: `#${each.name}` },
    h("div", { class: "card-head" }, h("div", {}, h("h2", {}, each.valid ? each.persona : each.name), h("code", {}, `${each.name}.yaml`)), each.valid ? ring(each.score, `score ${each.score}, ${each.verdict}`) : h("span", { class: "badge bad" }, `${each.problems} problem${each.problems === 1 ? "" : "s"}`)),
    h("p", { class: "about" }, each.valid ? each.description || "No description." : each.problem),
    each.valid && h("p", { class: "words" }, each.words.length ? each.words.map((word) => h("span", {}, word)) : h("em", {}, "no words of its own")),
    each.valid && h("p", { class: "hint" }, `version ${each.version} · ${each.examples} example${each.examples === 1 ? "" : "s"} · ${each.verdict}${each.versions ? ` · ${each.versions} earlier` : ""}`))));
  if (!cards.length) $("cards").append(h("p", { class: "empty" }, `${found.folder} holds no constitution yet.`));
}

async function open(name) {
  file = name === "+" ? { name: "", hash: "", text: START, versions: [] } : await request(`/api/constitutions/${encodeURIComponent(name)}`);
  const draft = kept.get(`studio-draft-${file.name}`);
  $("text").value = draft && draft !== file.text ? draft : file.text;
  $("gallery").hidden = true;
  $("workbench").hidden = false;
  $("file-name").textContent = file.name ? `${file.name}.yaml` : "New constitution";
  document.title = `${file.name || "New"} · Character-Ray studio`;
  if (draft && draft !== file.text) toast("Your unsaved text of last time is here again.");
  paint();
  await Promise.all([check(), fillAgainst()]);
  window.scrollTo(0, 0);
}

const dirty = () => file !== null && $("text").value !== file.text;

function paint() {
  const bad = new Map((checked?.problems ?? []).map((each) => [each.line, each]));
  $("paper").replaceChildren(...$("text").value.split("\n").map((line, index) => h("div", { class: bad.has(index + 1) ? "line bad" : "line" }, ...colour(line), "\u200b")));
  $("dirty").hidden = !dirty();
}

/** A line of YAML as pieces with a class; reading aid only. */
function colour(line) {
  const [, indent, dash, key, colon, rest] = /^(\s*)(- )?((?:[\w-]+)(?=:(?:\s|$)))?(:)?(.*)$/s.exec(line);
  if (/^\s*#/.test(line)) return [h("span", { class: "y-comment" }, line)];
  if (!key) return [indent, dash && h("span", { class: "y-mark" }, dash), /^["']/.test(rest) ? h("span", { class: "y-text" }, (colon ?? "") + rest) : (colon ?? "") + rest].filter(Boolean);
  return [indent, dash && h("span", { class: "y-mark" }, dash), h("span", { class: "y-key" }, key), h("span", { class: "y-mark" }, ":"), h("span", { class: "y-text" }, rest)].filter(Boolean);
}

async function check() {
  const turn = ++checking, text = $("text").value;
  let found;
  try { found = await request("/api/check", { method: "POST", body: { text } }); }
  catch (fault) { found = { valid: false, problems: [{ line: null, field: "", message: fault.message, remedy: "" }] }; }
  if (turn !== checking) return;
  checked = found;
  paint();
  showCheck();
  if (!$("panel-compare").hidden) compare();
}

function showCheck() {
  $("save").disabled = !checked.valid;
  $("save-as").disabled = !checked.valid;
  $("preview-go").disabled = !checked.valid;
  if (!checked.valid) {
    const count = checked.problems.length;
    $("check-summary").textContent = `${count} problem${count === 1 ? "" : "s"}`;
    $("check").replaceChildren(h("h2", { class: "problem-count" }, `${count} problem${count === 1 ? "" : "s"} to repair`),
      h("ol", { class: "problems" }, checked.problems.map((each) => h("li", {}, h("button", { type: "button", onclick: () => go(each.line), disabled: !each.line },
        h("span", { class: "where" }, each.line ? `Line ${each.line}` : "The text", each.field && h("code", {}, each.field)), h("span", { class: "what" }, each.message), each.remedy && h("span", { class: "remedy" }, each.remedy))))));
    return;
  }
  $("check-summary").textContent = `valid, score ${checked.score.toFixed(2)}, ${checked.verdict}`;
  const losses = checked.parts.flatMap((part) => part.losses.map((loss) => ({ ...loss, part: part.name }))).sort((a, b) => b.points - a.points);
  $("check").replaceChildren(
    h("div", { class: "score" }, ring(checked.score), h("div", {}, h("h2", {}, checked.persona), h("p", { class: "hint" }, checked.verdict))),
    h("dl", { class: "parts" }, checked.parts.map((part) => h("div", {}, h("dt", {}, part.name), h("dd", {}, h("span", { class: "meter" }, h("span", { style: { width: `${(100 * part.score) / part.weight}%` } })), h("span", { class: "figure" }, `${part.score.toFixed(2)} / ${part.weight.toFixed(1)}`))))),
    losses.length ? h("ul", { class: "losses" }, losses.map((loss) => h("li", {}, h("span", { class: "points" }, `−${loss.points.toFixed(2)}`), h("div", {}, h("p", {}, loss.why), h("p", { class: "remedy" }, loss.remedy))))) : h("p", { class: "praise" }, "Nothing is missing."),
  );
}

function go(line) {
  const lines = $("text").value.split("\n");
  const start = lines.slice(0, line - 1).reduce((sum, each) => sum + each.length + 1, 0);
  $("text").focus();
  $("text").setSelectionRange(start, start + lines[line - 1].length);
  $("paper").children[line - 1]?.scrollIntoView({ block: "center" });
}

async function save(name, seen) {
  const text = $("text").value;
  const found = await request(`/api/constitutions/${encodeURIComponent(name)}`, { method: "PUT", body: { text, seen } });
  kept.set(`studio-draft-${file.name}`, "");
  const renamed = file.name !== name;
  file = { name, hash: found.hash, text, versions: found.versions };
  toast(`${name}.yaml is saved.`);
  if (renamed) history.replaceState(null, "", `#${name}`);
  $("file-name").textContent = `${name}.yaml`;
  paint();
  cards = (await request("/api/constitutions")).constitutions;
  await fillAgainst();
}

function askName(suggestion) {
  $("new-name").value = suggestion;
  $("naming-fault").textContent = "";
  $("naming").showModal();
  $("new-name").select();
}

async function fillAgainst() {
  if (!cards.length) cards = (await request("/api/constitutions")).constitutions;
  const chosen = $("against").value;
  const own = file.name ? [h("option", { value: `${file.name} ` }, "the saved text"), ...file.versions.map((each) => h("option", { value: `${file.name} ${each}` }, `version of ${each.slice(0, 4)}-${each.slice(4, 6)}-${each.slice(6, 8)} ${each.slice(9, 11)}:${each.slice(11, 13)}:${each.slice(13, 15)} UTC`))] : [];
  const others = cards.filter((each) => each.valid && each.name !== file.name).map((each) => h("option", { value: `${each.name} ` }, `${each.name}.yaml`));
  $("against").replaceChildren(own.length ? h("optgroup", { label: "This file" }, own) : "", h("optgroup", { label: "Other files" }, others));
  if ([...$("against").options].some((each) => each.value === chosen)) $("against").value = chosen;
}

async function compare() {
  const [name, version = ""] = $("against").value.split(" ");
  if (!name) return;
  try {
    const { changes } = await request("/api/diff", { method: "POST", body: { before: { name, version }, after: { text: $("text").value } } });
    const reach = changes.filter((each) => each.reaches_model).length;
    $("changes").replaceChildren(
      h("p", { class: "hint" }, changes.length ? `${changes.length} change${changes.length === 1 ? "" : "s"}, ${reach} of which reach${reach === 1 ? "es" : ""} a model.` : "They say the same."),
      ...changes.map((each) => h("article", { class: `change ${each.kind}` }, h("header", {}, h("code", {}, each.field), h("span", { class: "badge" }, each.kind)), h("p", { dir: "auto" }, each.pieces.map((piece) => (piece.kind === "same" ? piece.text : h(piece.kind === "added" ? "ins" : "del", {}, piece.text)))))),
    );
  } catch (fault) { $("changes").replaceChildren(h("p", { class: "fault" }, fault.message)); }
}

async function runPreview() {
  const prompts = $("preview-prompts").value.split("\n").map((each) => each.trim()).filter(Boolean);
  if (!prompts.length || prompts.length > 4) return toast("Give one to four prompts, one a line.", "fault");
  const cells = prompts.map(() => ({}));
  $("previews").replaceChildren(...prompts.map((prompt, index) => h("article", { class: "exchange" }, h("p", { class: "asked", dir: "auto" }, prompt),
    h("div", { class: "pair" }, [["plain", "As it is"], ["told", checked.persona]].map(([side, name]) => {
      cells[index][side] = h("p", { class: "answer writing", dir: "auto" });
      return h("section", { class: `card ${side === "told" ? "seat-a" : ""}` }, h("h4", {}, name), cells[index][side]);
    })))));
  preview = new AbortController();
  $("preview-go").hidden = true; $("preview-stop").hidden = false;
  try {
    for await (const event of stream("/api/preview", { method: "POST", signal: preview.signal, body: { text: $("text").value, model: $("preview-model").value, prompts } })) {
      const cell = cells[event.prompt][event.side];
      if (event.text) cell.textContent = (cell.textContent + event.text).trimStart();
      else { cell.classList.remove("writing"); if (event.error) cell.append(h("span", { class: "fault" }, event.error)); }
    }
  } catch (fault) { if (fault.name !== "AbortError") toast(fault.message, "fault"); }
  finally {
    for (const pair of cells) for (const cell of Object.values(pair)) cell.classList.remove("writing");
    $("preview-go").hidden = false; $("preview-stop").hidden = true;
  }
}

let pause;
$("text").addEventListener("input", () => {
  paint();
  kept.set(`studio-draft-${file.name}`, dirty() ? $("text").value : "");
  clearTimeout(pause);
  pause = setTimeout(check, 180);
});
$("text").addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "s") { event.preventDefault(); $("save").click(); }
});
$("save").addEventListener("click", () => {
  if (!file.hash) return askName(checked.slug);
  save(file.name, file.hash).catch((fault) => toast(fault.message, "fault"));
});
$("save-as").addEventListener("click", () => askName(file.name ? `${file.name}-2` : checked.slug));
$("naming-form").addEventListener("submit", (event) => {
  if (event.submitter?.value !== "save") return;
  event.preventDefault();
  save($("new-name").value.trim(), "").then(() => $("naming").close(), (fault) => { $("naming-fault").textContent = fault.message; });
});
$("new").addEventListener("click", () => { location.hash = "+"; });
$("back").addEventListener("click", (event) => { event.preventDefault(); location.hash = ""; });
$("against").addEventListener("change", compare);
$("preview-form").addEventListener("submit", (event) => { event.preventDefault(); runPreview(); });
$("preview-stop").addEventListener("click", () => preview?.abort());
const tabs = [...document.querySelectorAll("[role=tab]")];
const select = (chosen) => {
  for (const tab of tabs) {
    tab.setAttribute("aria-selected", String(tab === chosen));
    tab.tabIndex = tab === chosen ? 0 : -1;
    $(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
  }
  if (chosen.id === "tab-compare") compare();
};
for (const [index, tab] of tabs.entries()) {
  tab.addEventListener("click", () => select(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) { const next = tabs[(index + step + tabs.length) % tabs.length]; next.focus(); select(next); }
  });
}
window.addEventListener("beforeunload", (event) => { if (dirty() && !$("workbench").hidden) event.preventDefault(); });
window.addEventListener("hashchange", route);

function route() {
  const name = decodeURIComponent(location.hash.slice(1));
  const work = name ? open(name) : showGallery();
  work.catch((fault) => { toast(fault.message, "fault"); if (name) location.hash = ""; });
}
route();
models().then((found) => $("preview-model").replaceChildren(...found.map((each) => h("option", { value: each.pinned }, each.status ? each.label : each.persona ? `${each.persona} · trained` : each.name))), () => {});
