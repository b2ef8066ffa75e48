// How a person's answers fared, week by week: a plot for the eye, the same as a table.

import { made } from "./parts.js";

const WEEKS = 26; // the newest ones
const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [420, 150, 34, 8, 8, 22];
const SERIES = [
  { name: "accepted", title: "accepted as shown", of: (week) => week.acceptance },
  { name: "changed", title: "words changed", of: (week) => week.change },
];

const percent = (share) => (Number.isFinite(share) ? `${Math.round(100 * share)} %` : "\u2013");
const counted = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;

function drawn(tag, attributes, ...inside) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...inside);
  return element;
}

/** One sentence on all weeks; empty where nobody has said anything yet. */
export function summary(weeks) {
  const sum = (name) => weeks.reduce((total, week) => total + week[name], 0);
  const [heard, accepted, words, changed] = ["heard", "accepted", "words", "changed"].map(sum);
  if (!heard) return "";
  const kept = words ? `, ${percent(changed / words)} of the words shown were changed` : "";
  return `Of ${counted(heard, "answer")} with feedback ${percent(accepted / heard)} were accepted as shown${kept}.`;
}

/** Both shares over the weeks, from 0 to 100 %; more words than were shown count as 100 %. */
export function plot(all) {
  const weeks = all.filter((week) => week.heard).slice(-WEEKS);
  const step = (WIDTH - LEFT - RIGHT) / Math.max(weeks.length - 1, 1);
  const x = (i) => (weeks.length > 1 ? LEFT + i * step : (LEFT + WIDTH - RIGHT) / 2);
  const y = (share) => TOP + (1 - Math.min(share, 1)) * (HEIGHT - TOP - BOTTOM);
  const svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "plot", role: "img", "aria-label": told(weeks) });
  for (const share of [0, 0.5, 1]) {
    svg.append(
      drawn("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(share), y2: y(share), class: "grid" }),
      drawn("text", { x: LEFT - 4, y: y(share) + 3.5, class: "end" }, `${100 * share} %`),
    );
  }
  svg.append(drawn("text", { x: LEFT, y: HEIGHT - 6 }, weeks[0].name));
  if (weeks.length > 1) svg.append(drawn("text", { x: WIDTH - RIGHT, y: HEIGHT - 6, class: "end" }, weeks.at(-1).name));
  for (const { name, of } of SERIES) {
    const points = weeks.map((week, i) => [x(i), of(week)]).filter(([, share]) => Number.isFinite(share));
    svg.append(
      drawn("polyline", { points: points.map(([at, share]) => `${at},${y(share)}`).join(" "), class: name }),
      ...points.map(([at, share]) => mark(name, at, y(share))),
    );
  }
  return svg;
}

/** A dot for one share, a square for the other: not by colour alone. */
function mark(name, x, y) {
  if (name === "accepted") return drawn("circle", { cx: x, cy: y, r: 3.5, class: name });
  return drawn("rect", { x: x - 3.2, y: y - 3.2, width: 6.4, height: 6.4, class: name });
}

function told(weeks) {
  const said = weeks.map((week) => `week of ${week.name}: ${SERIES.map((one) => `${percent(one.of(week))} ${one.title}`).join(", ")}`);
  return `How answers fared. ${said.join("; ")}.`;
}

/** What the marks mean. */
export function legend() {
  return SERIES.map(({ name, title }) => {
    const sign = drawn("svg", { viewBox: "0 0 10 10", class: "sign", "aria-hidden": "true" }, mark(name, 5, 5));
    return made("span", "", sign, title);
  });
}

/** A row a week, the newest first. */
export function rows(weeks) {
  return weeks.toReversed().map((week) => {
    const head = made("th", "", week.name);
    head.scope = "row";
    const cells = [week.answers, week.accepted, week.chosen, week.edited, week.rejected, percent(week.acceptance), percent(week.change)];
    return made("tr", "", head, ...cells.map((cell) => made("td", "", String(cell))));
  });
}
