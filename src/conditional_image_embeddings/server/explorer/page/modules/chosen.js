// The chosen images: compared if they are two, kept as a list; and the command that prints what the page shows.

import { ask, download } from "./api.js";
import { bar, byId, count, fill, h, named, percent, plural, word } from "./dom.js";
import { picture } from "./pictures.js";
import { go, isQuery, state, viewOf } from "./state.js";

const NAMES = { paths: ["paths.txt", "Paths"], ids: ["ids.txt", "Ids"], csv: ["images.csv", "CSV"], json: ["images.json", "JSON"] };

export const isPicked = (imageId) => state.picked.includes(imageId);

// One more or less; with a range, all of it.
export function pick(imageId, range = null) {
  if (range) return go({ picked: [...new Set([...state.picked, ...range])] }, { replace: true });
  go({ picked: isPicked(imageId) ? state.picked.filter((each) => each !== imageId) : [...state.picked, imageId] }, { replace: true });
}

// `shown` images are those of the grid; null where they are not known.
export function drawChosen(shown) {
  const place = byId("chosen");
  const several = state.picked.length;
  place.hidden = !several;
  fill(
    place,
    h("ul", { class: "faces", "aria-hidden": "true" }, state.picked.slice(-6).map((each) => h("li", {}, picture(each)))),
    h("span", { role: "status" }, `${plural(several, "image")} chosen`),
    several === 2 && h("button", { type: "button", class: "button primary", onclick: () => go({ pair: [...state.picked] }) }, "Compare"),
    several === 1 && h("span", { class: "note" }, "choose one more to compare"),
    h("button", { type: "button", class: "button", onclick: () => openKeep(shown()) }, "Export"),
    h("button", { type: "button", class: "button quiet", onclick: () => go({ picked: [] }, { replace: true }) }, "Clear"),
  );
}

export function openKeep(shown) {
  const dialog = byId("keep");
  const problem = h("p", { class: "error", role: "alert", hidden: true });
  const chosen = state.picked.length > 0;
  const what = h("fieldset", {}, h("legend", {}, "Which images"),
    h("label", {}, h("input", { type: "radio", name: "what", value: "chosen", checked: chosen, disabled: !chosen }), ` the ${count(state.picked.length)} chosen`),
    h("label", {}, h("input", { type: "radio", name: "what", value: "shown", checked: !chosen }), shown === null ? " all that are shown" : ` all ${count(shown)} that are shown`));
  const save = async (format) => {
    problem.hidden = true;
    try {
      const only = what.querySelector("input:checked").value === "chosen";
      const blob = await download({ ...viewOf(), k: Math.max(1, shown ?? 1000), chosen: only ? state.picked : null, format });
      const link = h("a", { href: URL.createObjectURL(blob), download: NAMES[format][0] });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
    }
  };
  fill(dialog, heading(dialog, "Export a list of images"), what,
    h("p", { class: "buttons" }, Object.entries(NAMES).map(([format, [, label]]) => h("button", { type: "button", class: "button", onclick: () => save(format) }, label))),
    h("p", { class: "note" }, "CSV and JSON have sizes, scores and words as well. For vectors: cie export."), problem);
  dialog.showModal();
}

export async function openCommand() {
  const dialog = byId("command");
  const shows = state.pair ? "compare" : { images: isQuery() ? "images" : "words", groups: "groups", duplicates: "duplicates", map: "words" }[state.view];
  const by = state.by === undefined ? state.conditions : [{ condition: state.by, weight: 1 }];
  const conditions = state.view === "groups" ? by : state.conditions;
  fill(dialog, heading(dialog, "The same on the command line"), h("p", { class: "note" }, "…"));
  dialog.showModal();
  try {
    const asked = { ...viewOf(), conditions, k: 20, shows, groups: state.n, threshold: state.threshold, pair: state.pair };
    const { command, note } = await ask("command", asked);
    const done = h("span", { role: "status", class: "note" });
    const copy = async () => {
      try {
        await navigator.clipboard.writeText(command);
        done.textContent = "Copied.";
      } catch {
        getSelection().selectAllChildren(text);
        done.textContent = "Selected: copy it with the keyboard.";
      }
    };
    const text = h("code", { tabindex: "0" }, command);
    fill(dialog, heading(dialog, "The same on the command line"), h("pre", {}, text), note && h("p", { class: "note" }, note),
      h("p", { class: "buttons" }, h("button", { type: "button", class: "button primary", onclick: copy }, "Copy"), done));
  } catch (error) {
    fill(dialog, heading(dialog, "The same on the command line"), h("p", { class: "error", role: "alert" }, error.message));
  }
}

let compared = null;

export async function drawComparison() {
  const dialog = byId("comparison");
  const wanted = JSON.stringify([state.space, state.pair]);
  if (!state.pair) {
    compared = null;
    if (dialog.open) dialog.close();
    return;
  }
  if (wanted === compared) return;
  compared = wanted;
  const [a, b] = state.pair;
  const title = heading(dialog, "In which aspects they agree");
  const faces = h("div", { class: "pair" }, [a, b].map((each) => h("figure", {}, picture(each), h("figcaption", {}, each))));
  fill(dialog, title, faces, h("p", { class: "note" }, "…"));
  if (!dialog.open) dialog.showModal();
  try {
    const { comparisons } = await ask("compare", { space: state.space, a, b });
    if (compared !== wanted) return;
    const told = (words) => words.slice(0, 2).map((each) => `${word(each.word)} ${each.probability.toFixed(2)}`).join(", ");
    fill(dialog, title, faces,
      h("table", { class: "agreement" },
        h("thead", {}, h("tr", {}, ["aspect", "alike", "", "left", "right"].map((each) => h("th", { scope: "col" }, each)))),
        h("tbody", {}, comparisons.map(({ condition, similarity, percentile, words }) => h("tr", {},
          h("th", { scope: "row" }, named(condition)), h("td", { class: "long" }, bar({ cosine: similarity, percentile })),
          h("td", { class: "share" }, percent(percentile) || similarity.toFixed(2)), h("td", {}, told(words[0])), h("td", {}, told(words[1])))))),
      h("p", { class: "note" }, "The longer a bar, the more of the collection's random pairs are less alike in that aspect."),
      h("p", { class: "buttons" }, h("button", { type: "button", class: "button as-command", onclick: openCommand }, "As command")));
  } catch (error) {
    fill(dialog, title, faces, h("p", { class: "error", role: "alert" }, error.message));
  }
}

export function startDialogs() {
  byId("comparison").addEventListener("close", () => state.pair && go({ pair: null }));
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside it
  }
}

const heading = (dialog, text) =>
  h("header", {}, h("h2", {}, text), h("button", { type: "button", class: "button close", "aria-label": "Close", onclick: () => dialog.close() }, "×"));
