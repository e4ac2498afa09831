// What hits are near to: words that are typed, images of the collection, a picture of one's own.

import { Latest, Problem, modelState, upload, uploaded } from "./api.js";
import { byId, fill, h } from "./dom.js";
import { picture } from "./pictures.js";
import { go, isQuery, state } from "./state.js";

const KINDS = ["text", "image_id", "upload"];

export function startSearchBox({ failed }) {
  const field = byId("words");
  byId("search").addEventListener("submit", (event) => {
    event.preventDefault();
    const value = field.value.trim();
    if (!value) return;
    field.value = "";
    if (!state.text.some((each) => each.value === value)) go({ text: [...state.text, { value, weight: 1 }], ...toImages });
  });
  const chosen = byId("file");
  byId("choose").addEventListener("click", () => chosen.click());
  chosen.addEventListener("change", () => {
    if (chosen.files.length) take(chosen.files[0], failed);
    chosen.value = "";
  });
  startDropping(failed);
}

const toImages = { view: "images", group: null, open: null, pair: null };

export const searchWith = (imageId) => go({ image_id: [{ value: imageId, weight: 1 }], text: [], upload: [], ...toImages });
export const addToSearch = (imageId) =>
  go({ image_id: [...state.image_id.filter((each) => each.value !== imageId), { value: imageId, weight: 1 }], ...toImages });

async function take(file, failed) {
  failed(null);
  try {
    const key = await upload(file);
    go({ upload: [{ value: key, weight: 1 }], text: [], image_id: [], ...toImages });
  } catch (error) {
    failed(error instanceof Problem ? error.message : String(error));
  }
}

function startDropping(failed) {
  const sheet = byId("drop");
  const hasFile = (event) => event.dataTransfer?.types.includes("Files");
  let depth = 0;
  addEventListener("dragenter", (event) => {
    if (!hasFile(event)) return;
    depth += 1;
    sheet.hidden = false;
  });
  addEventListener("dragleave", (event) => {
    if (!hasFile(event)) return;
    depth = Math.max(0, depth - 1);
    sheet.hidden = depth === 0;
  });
  addEventListener("dragover", (event) => hasFile(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!hasFile(event)) return;
    event.preventDefault();
    depth = 0;
    sheet.hidden = true;
    if (event.dataTransfer.files.length) take(event.dataTransfer.files[0], failed);
  });
  addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((each) => each.type.startsWith("image/"));
    if (!file) return;
    event.preventDefault();
    take(file, failed);
  });
}

export function drawQuery() {
  const place = byId("query");
  const tokens = KINDS.flatMap((kind) => state[kind].map((each) => token(kind, each)));
  fill(place, tokens, isQuery() && h("li", {}, h("button", { type: "button", class: "button quiet", onclick: clear }, "Clear search")));
  place.hidden = !isQuery();
}

const clear = () => go({ text: [], image_id: [], upload: [], cut: false });

function token(kind, { value, weight }) {
  const others = (change) => ({ [kind]: state[kind].flatMap((each) => (each.value === value ? change : [each])) });
  const label = kind === "text" ? `“${value}”` : kind === "upload" ? "your picture" : value;
  const face = kind === "text" ? null : picture(value, kind === "upload" ? { source: uploaded(value) } : {});
  return h(
    "li",
    { class: weight < 0 ? "token away" : "token", title: kind === "upload" ? "It is held by this program on this machine, and not part of the link." : value },
    face,
    h("span", { class: "called" }, label),
    h("button", {
      type: "button", class: "flip", "aria-pressed": String(weight < 0), onclick: () => go(others([{ value, weight: -weight }])),
      "aria-label": `Away from ${label}`, title: weight < 0 ? "Away from it: click for near to it" : "Near to it: click for away from it",
    }, weight < 0 ? "−" : "+"),
    h("button", { type: "button", class: "remove", "aria-label": `Remove ${label}`, onclick: () => go(others([])) }, "×"),
  );
}

// While a model is loaded, which takes as long as it takes: say so, and for how long already.
export class ModelWatch {
  #latest = new Latest();

  async during(work, place) {
    let done = false;
    const finished = work.finally(() => (done = true));
    await Promise.race([finished.catch(() => null), wait(350)]);
    while (!done && isQuery()) {
      const { state: now, seconds } = await modelState().catch(() => ({ state: "absent", seconds: 0 }));
      if (done) break;
      place.hidden = now !== "loading";
      if (now === "loading") fill(place, h("span", { class: "spinner", "aria-hidden": "true" }), `Loading the model that made these vectors: ${Math.round(seconds)} s. It is loaded once, and let go when it is not needed for a while.`);
      await Promise.race([finished.catch(() => null), wait(500)]);
    }
    place.hidden = true;
    return finished;
  }
}

const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
