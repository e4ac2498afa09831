// What the collection falls into: groups under a condition, and images that are alike.

import { Latest, ask } from "./api.js";
import { openCommand } from "./chosen.js";
import { byId, count, fill, h, named, percent, plural, word } from "./dom.js";
import { picture } from "./pictures.js";
import { filtersOf, go, state } from "./state.js";

const THRESHOLDS = [[0.99, "alike"], [0.999, "very alike"], [0.9999, "nearly the same"]];
const groupsAsked = new Latest();
const duplicatesAsked = new Latest();

export const conditionOf = () => (state.by !== undefined ? state.by : (state.conditions.find((each) => each.weight > 0) ?? state.conditions[0]).condition);

export const choice = (space, condition, changed) =>
  h("label", { class: "choice" }, "Aspect ",
    h("select", { onchange: (event) => changed(space.conditions[event.target.selectedIndex].condition) },
      space.conditions.map((each) => h("option", { selected: each.condition === condition }, named(each.condition)))));

const asCommand = () => h("button", { type: "button", class: "button quiet as-command", onclick: openCommand }, "As command");

export async function drawGroups(space) {
  const place = byId("groups");
  const condition = conditionOf();
  const number = h("input", { type: "number", class: "field", min: "1", max: "1000", placeholder: "auto", value: state.n ?? "", "aria-label": "How many groups",
    onchange: (event) => go({ n: Number(event.target.value) >= 1 ? Math.min(1000, Math.floor(Number(event.target.value))) : null }) });
  const result = h("div", { class: "result" });
  fill(place, h("p", { class: "tools" }, choice(space, condition, (by) => go({ by })), h("label", { class: "choice" }, "Groups ", number), asCommand()), result);
  const found = await working(groupsAsked, result, "Grouping", (signal) => ask("clusters", { space: state.space, condition, n: state.n, filters: { ...filtersOf(), group: null } }, signal));
  if (!found) return;
  const { groups } = found;
  const total = groups.reduce((sum, each) => sum + each.size, 0);
  fill(result,
    h("p", { class: "note" }, `${plural(groups.length, "group")} of ${plural(total, "image")}, named by the words that they say and the others do not.`),
    h("ul", { class: "grid covers" }, groups.map((group) => h("li", {},
      h("button", { type: "button", class: "card cover", onclick: () => go({ view: "images", group: { condition, n: state.n, number: group.number }, text: [], image_id: [], upload: [] }) },
        h("span", { class: group.images.length < 4 ? "mosaic one" : "mosaic" }, group.images.slice(0, group.images.length < 4 ? 1 : 4).map((each) => picture(each, { lazy: true }))),
        h("span", { class: "label" }, h("b", {}, group.name), h("small", {}, h("span", {}, count(group.size)), h("span", {}, percent(group.size / total))),
          h("span", { class: "bar", "aria-hidden": "true" }, h("i", { "--length": (group.size / groups[0].size).toFixed(4) })),
          h("small", { class: "also" }, group.words.slice(0, 3).map((each) => word(each.word)).filter((each) => each !== group.name).join(", "))))))));
}

export async function drawDuplicates(space) {
  const place = byId("duplicates");
  const threshold = state.threshold ?? 0.999;
  const conditions = state.conditions.filter((each) => each.weight > 0).map((each) => each.condition);
  const select = h("label", { class: "choice" }, "How alike ",
    h("select", { onchange: (event) => go({ threshold: THRESHOLDS[event.target.selectedIndex][0] }) },
      THRESHOLDS.map(([value, label]) => h("option", { selected: value === threshold }, `${label} (above ${100 * value} % of pairs)`))));
  const result = h("div", { class: "result" });
  fill(place, h("p", { class: "tools" }, select, h("span", { class: "note" }, `in ${conditions.map(named).join(" and ") || "nothing: give an aspect a weight above 0"}`), asCommand()), result);
  if (!conditions.length) return;
  const found = await working(duplicatesAsked, result, "Comparing every image with every other", (signal) => ask("duplicates", { space: state.space, conditions, threshold, filters: filtersOf() }, signal));
  if (!found) return;
  const groups = grouped(found.duplicates);
  const shown = [...groups.values()].slice(0, 200);
  fill(result,
    h("p", { class: "note" }, found.groups ? `${plural(found.groups, "group")} with ${plural(found.images, "image")}; the first of each is the largest.${shown.length < found.groups ? ` The first ${shown.length} are shown.` : ""}` : "No two images are so alike."),
    shown.map((members) => h("section", { class: "alike", "aria-label": `${members.length} images` },
      h("ol", { class: "strip" }, members.map((each) => h("li", {},
        h("button", { type: "button", class: "neighbour", title: each.image_id, "aria-label": each.image_id, onclick: () => go({ open: each.image_id }) }, picture(each.image_id, { lazy: true }),
          h("span", { class: "said" }, each === members[0] ? (each.size ? each.size.join(" × ") : "first") : each.same_file_as ? "same file" : each.similarity.toFixed(3)))))))));
}

function grouped(rows) {
  const found = new Map();
  for (const row of rows) {
    if (!found.has(row.group)) found.set(row.group, []);
    found.get(row.group).push(row);
  }
  return found;
}

// What takes long says for how long already; an error says what to do where the result would be.
export async function working(latest, place, what, action) {
  const begun = performance.now();
  const clock = h("p", { class: "note working", role: "status" });
  const tick = () => fill(clock, h("span", { class: "spinner", "aria-hidden": "true" }), `${what}: ${Math.round((performance.now() - begun) / 1000)} s`);
  const timer = setInterval(tick, 1000);
  const early = setTimeout(() => (tick(), fill(place, clock)), 250);
  const answer = await latest.run(action);
  clearInterval(timer);
  clearTimeout(early);
  if (answer?.error) fill(place, h("p", { class: "error", role: "alert" }, answer.error));
  return answer?.found ?? null;
}
