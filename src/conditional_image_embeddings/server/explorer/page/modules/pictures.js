// A picture of the collection, and what is shown where there is none.

import { thumbnail } from "./api.js";
import { h } from "./dom.js";

export function picture(imageId, { alt = "", source = thumbnail(imageId), lazy = false } = {}) {
  const image = h("img", { class: "picture", alt, draggable: "false", decoding: "async", loading: lazy ? "lazy" : null });
  image.addEventListener("error", () => image.replaceWith(blank(imageId)), { once: true });
  image.src = source;
  return image;
}

export const blank = (imageId) => h("span", { class: "picture blank", role: "img", "aria-label": `${imageId}: no picture` }, "no picture");
