// Parts of the page. Text of records and answers becomes text nodes, never markup.

/** An element with a class, texts and elements in it; null leaves a place empty. */
export function made(tag, name = "", ...inside) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...inside.filter((one) => one !== null && one !== undefined && one !== ""));
  return element;
}

/** `like this` between backticks is code. */
export function sentence(text) {
  return text.split("`").map((part, i) => (i % 2 ? made("code", "", part) : part));
}

const LONG = 280;

function text(name, value) {
  const element = made("div", name, value);
  element.dir = "auto";
  return element;
}

/** A long text is cut to some lines, with a button that shows all of it. */
function clippable(name, value) {
  const element = text(name, value);
  if (value.length <= LONG && value.split("\n").length <= 3) return [element];
  element.classList.add("clipped");
  const button = made("button", "more", "Show all");
  button.type = "button";
  button.setAttribute("aria-expanded", "false");
  button.addEventListener("click", () => {
    const clipped = element.classList.toggle("clipped");
    button.textContent = clipped ? "Show all" : "Show less";
    button.setAttribute("aria-expanded", String(!clipped));
  });
  return [element, button];
}

/** How far along `lowest` to `highest` a score is; the worst still shows a sliver. */
function bar(score, lowest, highest) {
  const filled = made("i");
  const share = highest > lowest ? (score - lowest) / (highest - lowest) : 1;
  filled.style.width = `${6 + 94 * share}%`;
  const track = made("span", "track", filled);
  track.setAttribute("aria-hidden", "true");
  return track;
}

const number = (value) => (Number.isFinite(value) ? value.toFixed(2).replace("-", "\u2212") : "unknown");
const day = (time) => (time ? String(time).slice(0, 10) : "");

/** Scores tell an order where there are several; one alone gets no bar. */
function scored(list) {
  const scores = list.map((one) => one.score).filter(Number.isFinite);
  const [lowest, highest] = [Math.min(...scores), Math.max(...scores)];
  return (score) => (scores.length > 1 && Number.isFinite(score) ? bar(score, lowest, highest) : null);
}

export function candidates(list, buttonFor) {
  const barOf = scored(list);
  return list.map((one, i) => {
    const about = made("p", "about", barOf(one.score), made("span", "", `score ${number(one.score)}`));
    if (i === 0) about.prepend(made("span", "badge", "Chosen"));
    if (one.sample === null) about.append(made("span", "", "no answer of the LLM named it"));
    const button = buttonFor(i);
    if (button) about.append(button);
    return made("li", i === 0 ? "won" : "", text("words made", one.text), about);
  });
}

export function records(list) {
  const barOf = scored(list);
  return list.map((one) => {
    const about = made("p", "about", barOf(one.score));
    if (Number.isFinite(one.score)) about.append(made("span", "", `score ${number(one.score)}`));
    if (one.time) about.append(made("span", "", day(one.time)));
    if (one.task) about.append(made("span", "", one.task));
    return made(
      "li",
      "",
      ...clippable("given", one.input),
      ...clippable("words made", one.output),
      about.childNodes.length ? about : null,
    );
  });
}

const STAGES = {
  records: ["Records", "Records of theirs that are like the question are shown to the LLM."],
  rerank: ["Reranker", "A second look picks which of the most similar records to show."],
  adapt: ["Adapter", "Of several answers, the one most like their own is taken."],
  answers: ["Answers", "How many answers are asked of the LLM."],
};

/** What the gate found, a stage a row: on or off, and why. */
export function stages(told, on) {
  return Object.entries(told).map(([stage, said]) => {
    const [name, what] = STAGES[stage] ?? [stage, ""];
    const reason = said.replace(/^(on|off)\s*[:;,]?\s*/, "").replace(/^\((.*)\)$/, "$1");
    const state = stage in on ? made("span", `state${on[stage] ? " on" : ""}`, on[stage] ? "on" : "off") : null;
    return made(
      "div",
      "",
      made("dt", "", name),
      made("dd", "", state, ...sentence(reason)),
      what ? made("dd", "what", what) : null,
    );
  });
}

export function messages(list) {
  return list.map(({ role, content }) => {
    const said = typeof content === "string" ? content : JSON.stringify(content, null, 1);
    return made("li", "", made("p", "role", role), text("given", said));
  });
}

/** Calls, tokens, time and money, as far as they are known. */
export function facts(usage, seconds, cost) {
  const found = [];
  if (usage) {
    found.push(`${usage.prompt_tokens.toLocaleString("en")} tokens read`);
    found.push(`${usage.completion_tokens.toLocaleString("en")} written`);
  }
  if (Number.isFinite(cost) && cost > 0) found.push(`${cost < 0.01 ? cost.toFixed(5) : cost.toFixed(3)} US dollars`);
  found.push(`${seconds.toFixed(1)} s`);
  return found.map((one) => made("span", "", one));
}
