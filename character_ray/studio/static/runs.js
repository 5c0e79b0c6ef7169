// The runs: how far they are, what they measured, and what is published.
import { $, ago, everyFew, h, request, toast } from "./kit.js";

let shown = "", shownRegistry = "", promoting = null; // what the dialog is about to do
const opened = new Set();

async function refresh() {
  const found = await request("/api/runs");
  const text = JSON.stringify({ ...found, unfinished: found.unfinished.map(({ note, ...rest }) => rest) });
  $("under-way").hidden = !found.unfinished.length;
  $("unfinished").replaceChildren(...found.unfinished.map((each) => h("li", { class: each.state }, h("span", { class: "pulse", "aria-hidden": "true" }), h("strong", {}, each.name), h("span", {}, each.rows_out ? `${each.rows_out.toLocaleString()} rows so far` : "no rows yet"), h("small", {}, each.state === "working" ? each.note : `stopped, ${each.note}; running the recipe again continues it`))));
  if (text === shown) return;
  shown = text;
  $("runs").replaceChildren(...found.runs.map(card));
  if (!found.runs.length) $("runs").append(h("p", { class: "empty" }, `No run lies in ${found.folder} yet. Start one with `, h("code", {}, "make demo"), "."));
}

function card(run) {
  const done = run.stages.filter((each) => each.state === "done").length;
  const stages = h("details", { class: "stages", open: opened.has(run.name) }, h("summary", {}, `${done} stage${done === 1 ? "" : "s"} done`),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Stages of ${run.name}` }, h("table", {}, h("thead", {}, h("tr", {}, ["Stage", "Rows in", "Rows out", "Took", ""].map((each) => h("th", { scope: "col" }, each)))),
      h("tbody", {}, run.stages.map((each) => h("tr", { class: each.state }, h("th", { scope: "row" }, each.name), h("td", {}, each.rows_in.toLocaleString()), h("td", {}, each.rows_out.toLocaleString()), h("td", {}, each.took), h("td", { class: "text" }, each.note)))))));
  stages.addEventListener("toggle", () => (stages.open ? opened.add(run.name) : opened.delete(run.name)));
  return h("article", { class: "run" },
    h("header", {}, h("div", {}, h("h2", {}, run.persona || run.name), h("p", { class: "hint" }, h("code", {}, run.name), run.student && ` · ${run.student}`, ` · ${ago(Date.now() / 1000 - run.changed)}`)), h("span", { class: `badge ${run.state}` }, run.state)),
    run.lead && h("p", { class: "lead" }, run.lead), run.problem && h("p", { class: "fault" }, run.problem),
    run.measures.length > 0 && measures(run),
    run.stages.length > 0 && h("div", { class: "strip", "aria-hidden": "true" }, run.stages.map((each) => h("span", { class: each.state, title: each.name }))), run.stages.length > 0 && stages,
    h("div", { class: "actions" }, run.has_page && h("a", { class: "button secondary", href: `/runs/${encodeURIComponent(run.name)}/report` }, "Open report"), run.state === "finished" && run.has_adapter && h("button", { type: "button", class: "primary", onclick: () => askPromote(run.name) }, "Promote …")));
}

function measures(run) {
  // The deliverable first: on a phone the others are reached by scrolling.
  const arms = ["full", "base", "prompted", "dpo"].filter((arm) => run.measures.some((each) => each.cells[arm]));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Measures of ${run.name}` }, h("table", { class: "measures" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Measure"), arms.map((arm) => h("th", { scope: "col" }, arm)))),
    h("tbody", {}, run.measures.map((row) => h("tr", {}, h("th", { scope: "row", title: row.meaning }, row.label), arms.map((arm) => {
      const cell = row.cells[arm];
      if (!cell) return h("td", {}, "–");
      return h("td", { class: arm }, cell.text, h("small", {}, cell.interval), cell.share !== null && h("span", { class: "meter" }, h("span", { style: { width: `${100 * cell.share}%` } })));
    }))))));
}

async function refreshRegistry() {
  const found = await request("/api/registry");
  const text = JSON.stringify(found);
  if (text === shownRegistry) return;
  shownRegistry = text;
  $("registry-note").textContent = found.personas.length ? `What ${found.folder} holds; servers started with --registry serve what is live.` : `${found.folder} is empty. Promote a finished run to fill it.`;
  $("personas").replaceChildren(...found.personas.map((persona) => h("article", { class: "run persona" }, h("header", {}, h("div", {}, h("h3", {}, persona.persona), h("p", { class: "hint" }, h("code", {}, persona.slug))), rollBack(persona)),
    lastChange(persona.history.at(-1)),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Versions of ${persona.persona}` }, h("table", {}, h("thead", {}, h("tr", {}, ["Version", "Status", "Persona rate", "Published", "Run", ""].map((each) => h("th", { scope: "col", class: ["Published", "Run"].includes(each) ? "text" : "" }, each)))),
      h("tbody", {}, [...persona.versions].reverse().map((each) => h("tr", {}, h("th", { scope: "row" }, h("code", {}, each.weights_hash.slice(0, 8))), h("td", {}, h("span", { class: `badge ${each.status}` }, each.status)), h("td", {}, each.ratings.persona_rate === undefined ? "–" : `${Math.round(100 * each.ratings.persona_rate)} %`),
        h("td", { class: "text" }, `${each.published_at.slice(0, 16).replace("T", " ")} by ${each.published_by}`), h("td", { class: "text" }, each.run), h("td", {}, each.status !== "live" && h("button", { type: "button", class: "secondary small", onclick: () => askLive(persona, each.weights_hash) }, "Make live …"))))))))));
}

function lastChange(change) {
  if (!change?.at) return null;
  const what = change.weights_hash ? `${change.weights_hash.slice(0, 8)} ${change.action.replace("_", " ").replace("rolled back", "rolled back to")}` : "retired";
  return h("p", { class: "hint" }, `${what} ${change.at.slice(0, 16).replace("T", " ")} by ${change.by}`);
}

function rollBack(persona) {
  const live = persona.versions.find((each) => each.status === "live");
  return persona.before && h("button", { type: "button", class: "secondary", title: `To ${persona.before.slice(0, 8)}, which was live before`, onclick: () => change(`/api/registry/${persona.slug}/rollback`, live.weights_hash, `${persona.persona} is rolled back.`) }, "Roll back");
}

async function change(path, weights_hash, told) {
  try { await request(path, { method: "POST", body: { weights_hash } }); toast(told); }
  catch (fault) { toast(fault.message, "fault"); }
  await refreshRegistry();
}

function ask(title, work, button, isRun) {
  promoting = work;
  $("promoting-title").textContent = title;
  $("promoting-fault").textContent = "";
  $("promoting-run").hidden = $("promoting-canary").hidden = !isRun;
  $("publish").textContent = button;
  $("promoting").showModal();
}

function askPromote(name) {
  ask(`Promote ${name}`, async (bounds) => {
    const status = $("promoting-form").elements.status.value;
    const found = await request(`/api/runs/${encodeURIComponent(name)}/publish`, { method: "POST", body: { status, ...bounds, canary: $("canary").checked } });
    const stays = status === "candidate" && found.versions.at(-1).status === "live";
    return stays ? `${name} is live already and stays so.` : `${name} is published as ${status}.`;
  }, "Publish", true);
}

function askLive(persona, weights_hash) {
  const named = `${persona.persona} ${weights_hash.slice(0, 8)}`;
  ask(`Make ${named} live`, async (bounds) => {
    await request(`/api/registry/${persona.slug}/promote`, { method: "POST", body: { weights_hash, ...bounds } });
    return `${named} is live.`;
  }, "Make live", false);
}

const lines = (id) => $(id).value.split("\n").map((each) => each.trim()).filter(Boolean);
$("promoting-form").addEventListener("submit", async (event) => {
  if (event.submitter?.value !== "publish") return;
  event.preventDefault();
  event.submitter.disabled = true;
  try {
    const told = await promoting({ at_least: lines("at-least"), at_most: lines("at-most") });
    $("promoting").close();
    toast(told);
    await refreshRegistry();
  } catch (fault) { $("promoting-fault").textContent = fault.message; }
  finally { event.submitter.disabled = false; }
});

import("./kit.js").then(({ models }) => models().catch(() => {}));
for (const work of [refresh, refreshRegistry]) { work().catch((fault) => toast(fault.message, "fault")); everyFew(5000, work); }
