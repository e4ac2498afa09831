// The words of the images under each condition, with how many have them: a click lets only these through.

import { Latest, ask } from "./api.js";
import { byId, count, fill, h, named, word } from "./dom.js";
import { filtersOf, go, state } from "./state.js";

const SHOWN = 8;
const latest = new Latest();
const opened = new Set(); // lists that are shown whole

const of = (condition, excluded) => state.facets.find((each) => each.condition === condition && each.excluded === excluded);

export function toggle(condition, text, excluded) {
  const has = of(condition, excluded)?.words.includes(text);
  const kept = state.facets
    .map((each) => (each.condition === condition ? { ...each, words: each.words.filter((other) => other !== text) } : each))
    .filter((each) => each.words.length);
  if (has) return go({ facets: kept });
  const same = kept.find((each) => each.condition === condition && each.excluded === excluded);
  if (same) same.words = [...same.words, text];
  else kept.push({ condition, words: [text], excluded });
  go({ facets: kept });
}

export async function drawFacets(space) {
  const place = byId("facets");
  const told = space.conditions.filter((each) => each.has_words);
  if (!told.length) {
    latest.cancel();
    fill(place, h("p", { class: "note" }, "No words are stored with these vectors: embed with --top-words 5 to filter by them."));
    return;
  }
  const conditions = [...new Set([...state.conditions.map((each) => each.condition), ...told.map((each) => each.condition)])].filter((name) =>
    told.some((each) => each.condition === name),
  );
  const answer = await latest.run((signal) => ask("facets", { space: state.space, conditions, filters: filtersOf() }, signal));
  if (!answer) return;
  if (answer.error) {
    fill(place, h("p", { class: "error", role: "alert" }, answer.error));
    return;
  }
  fill(place, answer.found.facets.map(list));
}

function list({ condition, words, more }) {
  const most = Math.max(1, ...words.map((each) => each.count));
  const chosen = words.filter((each) => of(condition, false)?.words.includes(each.word) || of(condition, true)?.words.includes(each.word));
  // A word that was chosen and that no image has any more stays, so that it can be let go.
  const gone = [false, true].flatMap((excluded) => (of(condition, excluded)?.words ?? []).filter((text) => !words.some((each) => each.word === text)).map((text) => ({ word: text, count: 0 })));
  const all = [...words, ...gone];
  const shown = opened.has(condition) ? all : [...new Set([...all.slice(0, SHOWN), ...chosen, ...gone])];
  const heading = h("h3", {}, named(condition));
  const rows = h("ul", {}, shown.map((each) => row(condition, each, most)));
  const rest = all.length - shown.length;
  const toggleAll = (rest > 0 || opened.has(condition)) && all.length > SHOWN &&
    h("button", {
      type: "button", class: "button quiet", "aria-expanded": String(opened.has(condition)),
      onclick: () => {
        if (!opened.delete(condition)) opened.add(condition);
        const anew = list({ condition, words, more });
        section.replaceWith(anew);
        anew.querySelector("[aria-expanded]")?.focus();
      },
    }, opened.has(condition) ? "Fewer" : `${count(rest)} more`);
  const section = h("section", { class: "facet", "aria-label": named(condition) }, heading, rows, toggleAll, more > 0 && opened.has(condition) && h("p", { class: "note" }, `and ${count(more)} rarer words`));
  return section;
}

function row(condition, { word: text, count: images }, most) {
  const key = (kind) => JSON.stringify([kind, condition, text]);
  const only = Boolean(of(condition, false)?.words.includes(text));
  const not = Boolean(of(condition, true)?.words.includes(text));
  return h(
    "li",
    { class: only ? "chosen" : not ? "excluded" : "" },
    h("button", {
      type: "button", class: "word", "aria-pressed": String(only), dataset: { key: key("is") }, "--length": (images / most).toFixed(4),
      onclick: () => toggle(condition, text, false),
    }, h("span", { class: "text" }, word(text)), h("span", { class: "number" }, count(images))),
    h("button", {
      type: "button", class: "not", "aria-pressed": String(not), "aria-label": `Without ${word(text)}`, title: `Without ${word(text)}`, dataset: { key: key("not") },
      onclick: () => toggle(condition, text, true),
    }, "−"),
  );
}

export function startWhere() {
  byId("where").addEventListener("submit", (event) => {
    event.preventDefault();
    go({ where: byId("fits").value.trim() || null });
  });
}

export function drawFilters() {
  byId("fits").value = state.where ?? "";
  const place = byId("filters");
  const tags = state.facets.flatMap(({ condition, words, excluded }) =>
    words.map((text) => tag(`${excluded ? "not " : ""}${word(text)}`, named(condition), () => toggle(condition, text, excluded))),
  );
  if (state.where) tags.push(tag(state.where, "where", () => go({ where: null })));
  if (state.group) tags.push(tag(`group ${state.group.number}`, named(state.group.condition), () => go({ group: null })));
  if (state.lasso) tags.push(tag("lasso", `map of ${named(state.lasso.condition)}`, () => go({ lasso: null })));
  const all = () => go({ facets: [], where: null, group: null, lasso: null });
  fill(place, tags, tags.length > 1 && h("li", {}, h("button", { type: "button", class: "button quiet", onclick: all }, "Clear filters")));
  place.hidden = !tags.length;
}

const tag = (text, of, remove) =>
  h("li", { class: "token" }, h("span", { class: "called" }, h("small", {}, `${of} `), text), h("button", { type: "button", class: "remove", "aria-label": `Remove the filter ${text}`, onclick: remove }, "×"));
