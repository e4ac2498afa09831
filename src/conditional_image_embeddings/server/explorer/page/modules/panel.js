// One image: large, with its words, and its nearest under each condition, one row per condition.

import { Latest, ask, original, preview, thumbnail } from "./api.js";
import { isPicked, pick } from "./chosen.js";
import { bar, byId, count, fill, h, named, percent, word } from "./dom.js";
import { picture } from "./pictures.js";
import { addToSearch, searchWith } from "./search_box.js";
import { go, state } from "./state.js";

const NEIGHBOURS = 12;
const latest = new Latest();
const rows = new Map(); // condition to the request of its row
let opener = null; // what had the focus before

// `back()` puts the focus where it goes if what had it before is not there any more.
export async function drawPanel(space, { back }) {
  const place = byId("panel");
  const imageId = state.open;
  if (imageId === null) {
    for (const each of [latest, ...rows.values()]) each.cancel();
    const inside = place.contains(document.activeElement);
    place.hidden = true;
    fill(place);
    delete place.dataset.image;
    if (inside) (opener?.isConnected && opener.checkVisibility() ? opener.focus() : back());
    return;
  }
  if (place.hidden) opener = document.activeElement === document.body ? null : document.activeElement;
  place.hidden = false;
  const answer = await latest.run((signal) => ask("image", { space: state.space, image_id: imageId }, signal));
  if (!answer) return;
  const close = h("button", { type: "button", class: "button close", onclick: () => go({ open: null }), "aria-label": "Close" }, "×");
  if (answer.error) {
    fill(place, h("header", {}, h("h2", { tabindex: "-1" }, imageId), close), h("p", { class: "error", role: "alert" }, answer.error));
    return;
  }
  const image = answer.found;
  fill(
    place,
    h("header", {}, h("h2", { tabindex: "-1" }, image.image_id), close),
    h("div", { class: "facts" }, large(image), h("div", {},
      h("p", { class: "note" }, [image.width && `${image.width} × ${image.height}`, image.bytes && `${count(Math.ceil(image.bytes / 1000))} kB`].filter(Boolean).join(" · ")),
      h("p", { class: "buttons" },
        h("button", { type: "button", class: "button primary", onclick: () => searchWith(imageId) }, "Search with this"),
        h("button", { type: "button", class: "button", onclick: () => addToSearch(imageId) }, "Add to search"),
        h("button", { type: "button", class: "button choose", onclick: () => pick(imageId) }),
        image.file && h("a", { class: "button", href: original(imageId), target: "_blank", rel: "noopener" }, "Original")))),
    order(space).map((condition) => row(condition, image)),
  );
  drawPicked();
  if (place.dataset.image !== imageId) {
    place.scrollTop = 0;
    place.dataset.image = imageId;
    place.querySelector("h2").focus({ preventScroll: true });
  }
}

export function drawPicked() {
  const button = byId("panel").querySelector(".choose");
  if (!button) return;
  const picked = isPicked(state.open);
  button.setAttribute("aria-pressed", String(picked));
  button.textContent = picked ? "Chosen" : "Choose";
}

function large(image) {
  if (!image.file) {
    return h("figure", { class: "large" }, picture(image.image_id), h("figcaption", { class: "note" }, `${image.reason}. This is the stored picture.`));
  }
  const shown = h("img", { class: "picture", alt: image.image_id, src: preview(image.image_id) });
  shown.addEventListener("error", () => (shown.src = thumbnail(image.image_id)), { once: true });
  return h("figure", { class: "large" }, shown);
}

// Those that count first, then the others.
function order(space) {
  const first = state.conditions.map((each) => each.condition);
  return [...first, ...space.conditions.map((each) => each.condition).filter((name) => !first.includes(name))];
}

function row(condition, image) {
  const told = image.words.find((each) => each.condition === condition)?.words ?? [];
  const strip = h("ol", { class: "strip", "aria-label": `Nearest in ${named(condition)}` }, h("li", { class: "note" }, "…"));
  fillStrip(strip, condition, image.image_id);
  return h(
    "section",
    { class: "neighbours", dataset: { condition: condition ?? "" } },
    h("h3", {}, named(condition)),
    told.length > 0 && h("ul", { class: "words", "aria-label": "Its words" }, told.slice(0, 4).map((each) => h("li", { "--share": Math.min(1, each.probability).toFixed(4) }, `${word(each.word)} `, h("small", {}, each.probability.toFixed(2))))),
    strip,
  );
}

async function fillStrip(strip, condition, imageId) {
  if (!rows.has(condition)) rows.set(condition, new Latest());
  const view = { space: state.space, conditions: [{ condition, weight: 1 }], query: { image_id: [{ value: imageId, weight: 1 }] }, k: NEIGHBOURS, limit: NEIGHBOURS };
  const answer = await rows.get(condition).run((signal) => ask("images", view, signal));
  if (!answer) return;
  if (answer.error) {
    fill(strip, h("li", { class: "error" }, answer.error));
    return;
  }
  fill(
    strip,
    answer.found.images.map((hit) => {
      const [cosine, percentile, [first]] = [hit.scores[0], hit.percentiles[0], hit.words[0]];
      const said = first ? word(first.word) : "";
      const label = `${hit.rank}. ${hit.image_id}${said && `, ${said}`}, ${percent(percentile) || `cosine ${cosine.toFixed(2)}`}`;
      return h("li", {}, h("button", { type: "button", class: "neighbour", "aria-label": label, title: label, dataset: { id: hit.image_id }, onclick: () => go({ open: hit.image_id }) },
        picture(hit.image_id), bar({ cosine, percentile }), h("span", { class: "said" }, said || percent(percentile)), said && h("span", { class: "share" }, percent(percentile))));
    }),
  );
}
