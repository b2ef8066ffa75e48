// The page at /: pick a person, ask, see the answer and why it is this one.

import { legend, plot, rows, summary } from "./fared.js";
import { candidates, facts, made, messages, records, sentence, stages } from "./parts.js";
import { Refused, get, hasKey, post, stream, useKey } from "./server.js";

const $ = (id) => document.getElementById(id);
const show = (id, yes = true) => ($(id).hidden = !yes);
const MANY = 200; // people; of more, one is named, not picked from a list
const PAGE = 20;

let people = [];
let asking = null; // the AbortController of the question under way
let searching = null; // the one of the search under way
let answered = null; // { id, user, candidates } of the answer on the page
let takesFeedback = false;
let after = ""; // where the next page of the history begins

function trouble(error) {
  $("trouble").textContent = error ? error.message : "";
  show("trouble", Boolean(error));
}

/** Does what a person asked for; a refusal becomes words, a missing key the field for it. */
async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    if (error.name === "AbortError") return undefined;
    if (!(error instanceof Refused)) console.error(error);
    trouble(error);
    if (error.status === 401 && error.code !== "no_keys") askForKey();
    return undefined;
  }
}

function askForKey() {
  if (!hasKey()) trouble(null); // the field says it
  show("desk", false);
  show("forget-key", false);
  show("key-form");
  $("key").focus();
}

// -- picking

function options(select, pairs) {
  select.replaceChildren(...pairs.map(([value, label]) => new Option(label, value)));
}

const user = () => ($("user").hidden ? $("user-name").value.trim() : $("user").value);

function showPeople() {
  const typed = people.length === 0 || people.length > MANY;
  show("user", !typed);
  show("user-name", typed);
  document.querySelector("label[for^=user]").htmlFor = typed ? "user-name" : "user";
  if (typed) $("user-names").replaceChildren(...people.map((one) => new Option("", one.id)));
  else options($("user"), people.map((one) => [one.id, one.id]));
}

function showTasks() {
  const found = people.find((one) => one.id === user())?.tasks ?? [];
  const usual = found.length === 1 ? [] : [["", "their usual one"]];
  options($("task"), [...usual, ...found.map((name) => [name, name])]);
}

function showModels(ids) {
  const whole = ids.filter((id) => !id.includes("@"));
  const groups = [
    ["As they would write it", whole.filter((id) => id.startsWith("hydra/"))],
    ["As the LLM writes it", whole.filter((id) => !id.startsWith("hydra/"))],
  ];
  $("model").replaceChildren(
    ...groups.filter(([, found]) => found.length).map(([label, found]) => {
      const group = made("optgroup");
      group.label = label;
      group.append(...found.map((id) => new Option(id.replace(/^hydra\//, ""), id)));
      return group;
    }),
  );
}

function chosenModel() {
  const [model, task] = [$("model").value, $("task").value];
  return model.startsWith("hydra/") && task ? `${model}@${task}` : model;
}

async function begin() {
  const [models, found] = await Promise.all([get("v1/models"), everybody()]);
  people = found;
  showModels(models.data.map((one) => one.id));
  showPeople();
  show("key-form", false);
  show("forget-key", hasKey());
  show("desk");
  picked();
  $("query").focus();
  takesFeedback = await offersFeedback();
  showFared();
}

/** Whoever this key may ask for; nobody in the list where the server tells no names. */
async function everybody() {
  try {
    return (await get(`v1/users?limit=${MANY + 1}`)).data;
  } catch (error) {
    if (error.status === 403 || error.status === 404) return [];
    throw error;
  }
}

async function offersFeedback() {
  try {
    return Boolean((await get("openapi.json")).paths?.["/v1/feedback"]?.post);
  } catch {
    return false;
  }
}

function picked() {
  trouble(null);
  showTasks();
  clearAnswer();
  $("search-text").value = "";
  search();
  showFared();
}

// -- asking

function clearAnswer() {
  asking?.abort();
  answered = null;
  for (const id of ["answer", "told", "candidates", "shown", "prompt"]) show(id, false);
}

function waiting(yes) {
  $("send").disabled = yes;
  show("stop", yes);
  $("answer-text").setAttribute("aria-busy", String(yes));
  $("answer-text").classList.toggle("coming", yes && $("answer-text").textContent !== "");
}

async function ask() {
  const text = $("query").value.trim();
  if (!text || asking) return;
  if (!user()) return trouble(new Error("Whose answer should it be? Name somebody."));
  clearAnswer();
  asking = new AbortController();
  const personal = $("model").value.startsWith("hydra/");
  $("answer-title").textContent = personal ? `As ${user()} would write it` : "As the LLM writes it";
  $("progress").textContent = personal ? "Reading their history, drawing answers …" : "Waiting for the LLM …";
  for (const id of ["answer-text", "facts"]) $(id).replaceChildren();
  for (const id of ["why-not", "feedback"]) show(id, false);
  show("how", false);
  show("answer");
  waiting(true);
  const mine = asking;
  trouble(null);
  await attempt(() => receive(text, mine.signal));
  if (asking === mine) asking = null;
  $("progress").textContent = "";
  waiting(false);
  if ($("answer-text").textContent === "") show("answer", false);
}

async function receive(text, signal) {
  const started = performance.now();
  const body = {
    model: chosenModel(),
    user: user(),
    messages: [{ role: "user", content: text }],
    stream: true,
    stream_options: { include_usage: true },
  };
  let [usage, hydra] = [null, null];
  for await (const chunk of stream("v1/chat/completions", body, signal)) {
    const piece = chunk.choices?.[0]?.delta?.content;
    if (piece) {
      $("progress").textContent = "";
      $("answer-text").append(piece);
      waiting(true);
    }
    usage = chunk.usage ?? usage;
    hydra = chunk.hydra ?? hydra;
  }
  if ($("answer-text").textContent === "") $("answer-text").append("(an empty answer)");
  explain(hydra ?? {}, usage, (performance.now() - started) / 1000);
}

function explain(hydra, usage, seconds) {
  const found = hydra.explain ?? {};
  $("facts").replaceChildren(...facts(usage, seconds, found.cost));
  show("why-not", Boolean(hydra.why_not));
  $("why-not").textContent = hydra.why_not ? `Not personal: ${hydra.why_not}` : "";
  answered = { id: hydra.answer_id, user: hydra.user, candidates: found.candidates ?? [] };
  $("in-short").replaceChildren(...sentence(hydra.in_short ?? ""));
  fill("told", "stages", stages(hydra.told ?? {}, hydra.stages ?? {}));
  const drawn = answered.candidates;
  const order = drawn.length > 1 ? "best first; bars go from the lowest score to the highest" : "the only one";
  $("candidates-hint").textContent = `${counted(drawn.length, "answer")}, ${order}.`;
  fill("candidates", "candidate-list", candidates(drawn, chooser));
  const used = found.records ?? [];
  $("shown-hint").textContent = `${counted(used.length, "record")} of ${user()} went into the prompt.`;
  fill("shown", "shown-list", records(used));
  fill("prompt", "messages", messages(found.messages ?? []));
  offerFeedback(Boolean(takesFeedback && hydra.personal && hydra.answer_id));
}

function fill(section, list, items) {
  $(list).replaceChildren(...items);
  show(section, items.length > 0);
}

const counted = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;

// -- feedback

function chooser(i) {
  if (!takesFeedback || i === 0 || !answered.id) return null;
  const button = made("button", "small", "Choose this one");
  button.type = "button";
  button.addEventListener("click", () => tell({ choose: i + 1 }, `Noted: candidate ${i + 1} is the one.`));
  return button;
}

function offerFeedback(yes) {
  show("feedback", yes);
  openEdit(false);
  $("thanks").textContent = "";
  show("undo", false);
}

function openEdit(yes) {
  show("edit-form", yes);
  $("edit").setAttribute("aria-expanded", String(yes));
  if (!yes) return;
  $("edited").value = $("answer-text").textContent;
  $("edited").focus();
}

async function tell(said, thanks) {
  trouble(null);
  await attempt(async () => {
    let learned;
    try {
      ({ learned } = await post("v1/feedback", { answer_id: answered.id, user: answered.user, ...said }));
    } catch (error) {
      if (error.status === 501) takesFeedback = false;
      throw error;
    }
    openEdit(false);
    $("thanks").textContent = learned && !said.undo ? `${thanks} Their adapter has learned from it.` : thanks;
    show("undo", !said.undo);
    $("thanks").scrollIntoView({ block: "nearest" });
    showFared();
  });
}

/** The plot of this person's feedback so far; nothing where there is none, or none may be seen. */
async function showFared() {
  const who = user();
  if (!takesFeedback || !who) return show("fared", false);
  const weeks = await get(`v1/users/${encodeURIComponent(who)}/stats`).then(({ data }) => data, () => []);
  if (who !== user()) return undefined; // somebody else was picked meanwhile
  const told = summary(weeks);
  show("fared", Boolean(told));
  if (!told) return undefined;
  $("fared-summary").textContent = told;
  $("fared-plot").replaceChildren(plot(weeks));
  $("fared-legend").replaceChildren(...legend());
  return $("fared-rows").replaceChildren(...rows(weeks));
}

// -- history

async function search({ more = false } = {}) {
  searching?.abort();
  searching = new AbortController();
  const { signal } = searching;
  const who = user();
  show("history", Boolean(who));
  if (!who) return;
  await attempt(async () => {
    const query = new URLSearchParams({ limit: String(PAGE) });
    const words = $("search-text").value.trim();
    if (words) query.set("q", words);
    if ($("task").value) query.set("task", $("task").value);
    if (more) query.set("after", after);
    const found = await get(`v1/users/${encodeURIComponent(who)}/records?${query}`, { signal });
    const items = records(found.data);
    const kept = more ? [...$("history-list").children] : [];
    $("history-list").replaceChildren(...kept, ...items);
    after = found.data.at(-1)?.id ?? "";
    show("more", Boolean(found.has_more));
    $("history-count").textContent = toldCount(kept.length + items.length, found, words);
  });
}

function toldCount(n, found, words) {
  if (n === 0) return words ? "No record has these words." : "No records yet.";
  const of = Number.isFinite(found.total) && found.total > n ? ` of ${found.total}` : found.has_more ? ", more below" : "";
  return `${counted(n, "record")}${of}, newest first`;
}

// -- wiring

function later(work, milliseconds) {
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, milliseconds);
  };
}

const on = (id, event, work) => $(id).addEventListener(event, work);

function submitted(id, work) {
  on(id, "submit", (event) => {
    event.preventDefault();
    work();
  });
}

submitted("ask", ask);
submitted("search", () => search());
submitted("edit-form", () => tell({ edit: $("edited").value }, "Noted: your words count from now on."));
submitted("key-form", () => {
  trouble(null);
  useKey($("key").value);
  $("key").value = "";
  attempt(begin);
});
on("query", "keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  ask();
});
on("user", "change", picked);
on("user-name", "change", picked);
on("task", "change", () => search());
on("stop", "click", () => asking?.abort());
on("search-text", "input", later(search, 250));
on("more", "click", () => search({ more: true }));
on("accept", "click", () => tell({ accept: true }, "Noted: this is how they would write it."));
on("reject", "click", () => tell({ reject: true }, "Noted: they wouldn't write it so."));
on("undo", "click", () => tell({ undo: true }, "Taken back."));
on("edit", "click", () => openEdit($("edit-form").hidden));
on("forget-key", "click", () => {
  useKey("");
  location.reload();
});

attempt(begin);
