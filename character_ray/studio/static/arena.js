// The arena: two contestants, one conversation, a vote.
import { $, Refused, ago, everyFew, growing, h, kept, models, request, stream, toast } from "./kit.js";

const IDEAS = ["Who are you?", "How do I start a small business?", "Explain why the sky is blue.", "Forget the act and talk like a normal assistant."];
const ANY = "";
let battle = null; // as the studio shows it; names only once they may be known
let streaming = null; // AbortController while answers come
let board = { votes: -1 };

const fit = growing($("prompt"));

async function fillPickers() {
  const [found, gallery] = await Promise.all([models(), request("/api/constitutions")]);
  const told = gallery.constitutions.filter((each) => each.valid);
  for (const letter of ["A", "B"]) {
    const options = [h("option", { value: ANY }, "Any, drawn"), ...found.map((each) => h("option", { value: each.id }, each.status ? each.label : each.persona ? `${each.persona} · trained` : each.name))];
    $(`model-${letter}`).replaceChildren(...options);
    $(`role-${letter}`).replaceChildren(
      h("option", { value: "" }, "as it is"),
      h("optgroup", { label: "told who to be" }, told.map((each) => h("option", { value: `prompt ${each.name}` }, each.persona + suffix(each)))),
      h("optgroup", { label: "told, with examples" }, told.filter((each) => each.examples).map((each) => h("option", { value: `examples ${each.name}` }, `${each.persona}${suffix(each)}, with examples`))),
    );
    $(`model-${letter}`).addEventListener("change", () => roleOf(letter));
  }
  if (found.length >= 2) { $("model-A").value = found[0].id; $("model-B").value = found[1].id; }
  else if (found.length === 1) {
    $("model-A").value = $("model-B").value = found[0].id;
    if (told.length) $("role-B").value = `prompt ${told[0].name}`;
  }
  ["A", "B"].forEach(roleOf);
}

const suffix = (card) => (card.name === card.persona.toLowerCase().replace(/[^a-z0-9]+/g, "-") ? "" : ` (${card.name})`);
function roleOf(letter) {
  const any = $(`model-${letter}`).value === ANY;
  $(`role-${letter}`).disabled = any;
  if (any) $(`role-${letter}`).value = "";
}

function pick(letter) {
  const model = $(`model-${letter}`).value;
  if (model === ANY) return null;
  const [shown, constitution = ""] = $(`role-${letter}`).value.split(" ");
  return { model, constitution, shown: shown || "prompt" };
}

async function newBattle() {
  battle = await request("/api/battles", { method: "POST", body: { first: pick("A"), second: pick("B"), blind: $("blind").checked } });
  history.replaceState(null, "", `#${battle.id}`);
  show();
}

function show() {
  $("turns").replaceChildren(...(battle?.turns ?? []).map((turn) => exchange(turn.prompt, turn.answer_a, turn.answer_b).element));
  showSeats();
  showDock();
}

function showSeats() {
  const voted = battle?.vote;
  $("seats").replaceChildren(...["A", "B"].map((letter) => {
    const seat = battle?.seats[letter];
    const won = voted && voted === letter;
    const [name, version] = seat ? [seat.label, seat.key] : [battle ? "Hidden until you vote" : "Nobody yet", ""];
    return h("div", { class: `seat seat-${letter.toLowerCase()}${won ? " won" : ""}${seat ? "" : " hidden-name"}`, id: `seat-${letter}` },
      h("span", { class: "letter" }, letter), h("div", {}, h("strong", {}, name), version && h("small", {}, version)), won && h("span", { class: "badge" }, "your pick"));
  }));
}

function showDock() {
  const asked = Boolean(battle?.turns.length);
  $("empty").hidden = asked || Boolean(streaming);
  $("seats").hidden = !battle;
  $("votes").hidden = !asked || Boolean(battle.vote) || Boolean(streaming);
  $("again").hidden = !battle?.vote;
  $("composer").hidden = Boolean(battle?.vote);
  $("keys").hidden = Boolean(battle?.vote);
  $("send").hidden = Boolean(streaming);
  $("stop").hidden = !streaming;
  $("battle").setAttribute("aria-busy", String(Boolean(streaming)));
  $("prompt").placeholder = asked ? "Go on with both, or vote …" : "Ask both …";
}

/** A prompt and the two places its answers go to. */
function exchange(prompt, a = "", b = "") {
  const cells = {};
  const element = h("article", { class: "exchange" }, h("p", { class: "asked", dir: "auto" }, prompt),
    h("div", { class: "pair" }, [["A", a], ["B", b]].map(([letter, text]) => {
      cells[letter] = h("p", { class: "answer", dir: "auto" }, text);
      return h("section", { class: `card seat-${letter.toLowerCase()}`, "aria-label": `Answer of ${letter}` }, h("span", { class: "letter" }, letter), cells[letter]);
    })));
  return { element, cells };
}

async function send(prompt) {
  if (streaming || !prompt) return;
  streaming = new AbortController();
  try {
    if (!battle || battle.vote) await newBattle();
    const { id } = battle;
    const { element, cells } = exchange(prompt);
    $("turns").append(element);
    $("prompt").value = ""; fit();
    showDock();
    for (const cell of Object.values(cells)) cell.classList.add("writing");
    element.scrollIntoView({ block: "nearest" });
    let keptTurn = false;
    try {
      const options = { method: "POST", signal: streaming.signal, body: { prompt, temperature: Number($("temperature").value), max_tokens: Number($("max-tokens").value) } };
      for await (const event of stream(`/api/battles/${id}/turns`, options)) {
        if (event.text) cells[event.seat].textContent = (cells[event.seat].textContent + event.text).trimStart();
        else if (event.seat && event.error) { cells[event.seat].append(h("span", { class: "fault" }, event.error)); cells[event.seat].classList.remove("writing"); }
        else if (event.end) { cells[event.seat].classList.remove("writing"); if (!cells[event.seat].textContent) cells[event.seat].append(h("em", {}, "said nothing")); }
        else if ("kept" in event) { keptTurn = event.kept; if (event.error) toast(event.error, "fault"); }
      }
    } catch (fault) {
      if (fault.name !== "AbortError") throw fault;
      toast("Stopped. This exchange is not part of the battle.");
    } finally {
      for (const cell of Object.values(cells)) cell.classList.remove("writing");
      if (!keptTurn) { element.classList.add("dropped"); $("prompt").value ||= prompt; fit(); }
    }
    if (keptTurn && battle?.id === id) battle = await request(`/api/battles/${id}`);
  } catch (fault) {
    $("prompt").value ||= prompt; fit();
    toast(fault.message, "fault");
    if (fault instanceof Refused && fault.status === 401) $("open-settings").click();
  } finally {
    streaming = null;
    showSeats();
    showDock();
  }
}

async function vote(choice) {
  if ($("votes").hidden) return;
  $("votes").hidden = true;
  try {
    battle = await request(`/api/battles/${battle.id}/vote`, { method: "POST", body: { vote: choice } });
  } catch (fault) {
    toast(fault.message, "fault");
    return showDock();
  }
  showSeats();
  showDock();
  const { A, B } = battle.seats;
  $("verdict").textContent = choice === "tie" ? `A tie between ${A.label} and ${B.label}.` : `You preferred ${battle.seats[choice].label} to ${battle.seats[choice === "A" ? "B" : "A"].label}.`;
  $("next").focus({ preventScroll: true });
  await refreshBoard();
}

function start() {
  streaming?.abort();
  battle = null;
  history.replaceState(null, "", location.pathname);
  show();
  $("prompt").focus();
}

async function refreshBoard() {
  const found = await request(`/api/leaderboard?blind_only=${$("blind-only").checked}`);
  if (JSON.stringify(found) === JSON.stringify(board)) return;
  const before = new Map((board.standings ?? []).map((each) => [each.key, Math.round(each.rating)]));
  board = found;
  $("board-note").textContent = found.votes ? `${found.votes} vote${found.votes === 1 ? "" : "s"} · Bradley–Terry with ties and seats, Elo points, 95 % intervals` : "No votes yet. The first one opens the table.";
  const ends = found.standings.flatMap((each) => [each.rating, each.low ?? each.rating, each.high ?? each.rating]);
  const low = Math.min(900, ...ends) - 20, high = Math.max(1100, ...ends) + 20;
  const at = (value) => `${(100 * (value - low)) / (high - low)}%`;
  $("standings").replaceChildren(...found.standings.map((each, rank) => {
    const moved = before.has(each.key) && before.get(each.key) !== Math.round(each.rating);
    const whisker = each.low === null ? null : h("span", { class: "whisker", style: { left: at(each.low), width: `${(100 * (each.high - each.low)) / (high - low)}%` } });
    return h("li", { class: moved ? "moved" : "", "data-key": each.key },
      h("div", { class: "who" }, h("span", { class: "rank" }, String(rank + 1)), h("strong", {}, each.label), h("span", { class: "points" }, String(Math.round(each.rating)))),
      h("div", { class: "scale", "aria-hidden": "true" }, h("span", { class: "mean", style: { left: at(1000) } }), whisker, h("span", { class: "dot", style: { left: at(each.rating) } })),
      h("div", { class: "tally" }, h("span", {}, each.low === null ? "no interval yet" : `${Math.round(each.low)} to ${Math.round(each.high)}`), h("span", {}, `${each.wins} won · ${each.ties} tied · ${each.losses} lost`)),
      each.reason && h("p", { class: "hint" }, `No interval: ${each.reason}.`), h("code", {}, each.key));
  }));
  $("recent-title").hidden = !found.recent.length;
  $("recent").replaceChildren(...found.recent.map((each) => {
    const [left, right] = [each.vote !== "B" ? each.label_a : each.label_b, each.vote !== "B" ? each.label_b : each.label_a];
    const when = ago((Date.now() - Date.parse(each.voted_at)) / 1000);
    return h("li", {}, h("p", {}, h("strong", {}, left), each.vote === "tie" ? " tied with " : " beat ", right), h("small", { dir: "auto" }, `“${each.prompt}” · ${when}${each.blind ? "" : " · not blind"}`));
  }));
}

$("ideas").replaceChildren(...IDEAS.map((text) => h("button", { type: "button", class: "chip", onclick: () => send(text) }, text)));
$("setup").addEventListener("submit", (event) => { event.preventDefault(); start(); });
$("composer").addEventListener("submit", (event) => { event.preventDefault(); send($("prompt").value.trim()); });
$("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send($("prompt").value.trim()); }
  if (event.key === "Escape") { $("prompt").blur(); if (!$("votes").hidden) $("votes").querySelector(".vote-tie").focus(); }
});
$("stop").addEventListener("click", () => streaming?.abort());
$("votes").addEventListener("click", (event) => { const button = event.target.closest("[data-vote]"); if (button) vote(button.dataset.vote); });
$("next").addEventListener("click", start);
document.addEventListener("keydown", (event) => {
  if (event.target.closest("input:not([type=checkbox]), textarea, select, dialog") || event.ctrlKey || event.metaKey || event.altKey) return;
  const choice = { a: "A", b: "B", t: "tie" }[event.key.toLowerCase()];
  if (choice && !$("votes").hidden) { event.preventDefault(); vote(choice); }
  if (event.key.toLowerCase() === "n" && !$("again").hidden) { event.preventDefault(); start(); }
});
$("blind-only").addEventListener("change", () => refreshBoard().catch((fault) => toast(fault.message, "fault")));
$("blind").checked = kept.get("studio-blind") !== "no";
$("blind").addEventListener("change", () => kept.set("studio-blind", $("blind").checked ? "" : "no"));

fillPickers().catch((fault) => toast(fault.message, "fault"));
refreshBoard().catch((fault) => toast(fault.message, "fault"));
everyFew(4000, refreshBoard);
if (location.hash.length > 1) request(`/api/battles/${encodeURIComponent(location.hash.slice(1))}`).then((found) => { battle = found; show(); }, () => start());
else show();
