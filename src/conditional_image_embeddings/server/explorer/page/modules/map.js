// The collection on a plane: points in the colours of their words, that walk to their new places when the aspect
// changes; wheel and drag to look closer, a lasso to take some of them to the grid.

import { Latest, ask } from "./api.js";
import { Camera } from "./camera.js";
import { HIDDEN, REST, colourOf, ownColours, palette } from "./colours.js";
import { byId, count, fill, h, named, word } from "./dom.js";
import { listen } from "./gestures.js";
import { choice, conditionOf, working } from "./groups.js";
import { picture } from "./pictures.js";
import { Points } from "./points.js";
import { filtersOf, go, state } from "./state.js";

const WALK = 900; // milliseconds
const NEAR = 12; // pixels from which a point is meant
const FACES = 48; // so few points on the screen are shown as pictures

const latest = new Latest();
let map = null;

export async function drawMap(space) {
  const place = byId("map");
  if (!map) map = new ImageMap(place);
  const condition = conditionOf();
  map.tools(space, condition);
  const filters = { ...filtersOf(), lasso: null, group: null };
  const answer = await working(latest, map.result, "Placing the images on a plane", (signal) => ask("map", { space: state.space, condition, filters }, signal));
  if (!answer) return;
  fill(map.result);
  map.show(answer, condition);
}

class ImageMap {
  constructor(place) {
    this.bar = h("p", { class: "tools" });
    this.result = h("div", { class: "over" });
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.faces = h("div", { class: "faces", "aria-hidden": "true" });
    this.tip = h("div", { class: "tip", role: "status", hidden: true });
    this.lasso = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.lasso.setAttribute("class", "lasso");
    this.line = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
    this.lasso.append(this.line);
    this.field = h("div", { class: "plane", tabindex: "0", role: "application", "aria-label": "Map: arrow keys move it, plus and minus zoom, 0 shows all of it, Enter opens the image nearest to its middle" }, this.canvas, this.faces, this.lasso, this.tip, this.result);
    this.legend = h("ul", { class: "legend", "aria-label": "Words" });
    this.foot = h("p", { class: "note" });
    fill(place, this.bar, this.field, this.legend, this.foot);
    this.points = new Points(this.canvas);
    this.points.restored = () => this.#soon();
    this.lassoing = false;
    this.known = new Map(); // point to {image_id, words}
    this.only = null; // the word that stands out
    this.camera = new Camera();
    new ResizeObserver(() => this.#resize()).observe(this.field);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#soon());
    listen(this.field, {
      lassoes: (event) => this.lassoing || event.shiftKey,
      zoom: (factor, at) => this.#zoom(factor, at),
      pan: (x, y) => {
        this.camera.pan(x, y);
        this.#soon();
      },
      all: () => this.#all(),
      begin: () => this.#forget(),
      hover: (at) => this.#hover(at),
      leave: () => this.#forget(),
      click: (at) => this.#click(at),
      look: () => this.#hover(this.camera.middle, Infinity),
      open: () => this.#click(this.camera.middle, Infinity),
      draw: (corners) => this.#drawLasso(corners),
      close: (corners) => this.#closeLasso(corners),
    });
  }

  tools(space, condition) {
    const zoom = (label, said, action) => h("button", { type: "button", class: "button", "aria-label": said, title: said, onclick: action }, label);
    this.lassoButton = h("button", { type: "button", class: "button", "aria-pressed": String(this.lassoing), title: "Draw around points to see them as a grid (or hold Shift)", onclick: () => this.#setLasso(!this.lassoing) }, "Lasso");
    fill(this.bar, choice(space, condition, (by) => go({ by })), this.lassoButton,
      zoom("+", "Zoom in", () => this.#zoom(1.5)), zoom("−", "Zoom out", () => this.#zoom(1 / 1.5)), zoom("All", "Show all of it", () => this.#all()));
  }

  show({ count: number, made_by: madeBy, words, places, numbers, passing, images }, condition) {
    const ended = new Float32Array(bytes(places).buffer);
    const codes = bytes(numbers);
    const passes = passing === null ? null : bytes(passing);
    const colours = Uint8Array.from(codes, (code, point) => (passes && !passes[point] ? HIDDEN : code === 255 ? REST : code));
    // The same images in the same order can walk; others appear at once.
    const walks = this.images === images && this.condition !== condition && !matchMedia("(prefers-reduced-motion: reduce)").matches;
    const begun = walks ? this.ended : ended;
    Object.assign(this, { images, condition, ended, number, codes: colours, words });
    this.known.clear();
    this.points.set(begun, ended, colours);
    this.begun = walks ? performance.now() : -Infinity;
    if (!words.some((each) => each.word === this.only)) this.only = null;
    this.#drawLegend();
    this.foot.textContent = `${count(number)} images by ${madeBy} of their vectors under ${named(condition)}. Click a point to open it; draw with the lasso to see some as a grid.`;
    this.#resize();
  }

  #drawLegend() {
    const toggle = (text) => {
      this.only = this.only === text ? null : text;
      this.#drawLegend();
      this.#soon();
    };
    const own = ownColours(this.words);
    const dot = (number) => {
      const found = h("i", { class: "dot", dataset: { series: number + 1 } });
      if (own) found.style.background = own[number];
      return found;
    };
    fill(this.legend, this.words.map(({ word: text, count: images }, number) =>
      h("li", {}, h("button", { type: "button", "aria-pressed": String(this.only === text), dataset: { key: text }, onclick: () => toggle(text) },
        dot(number), word(text), h("small", {}, count(images))))),
      this.words.length > 0 && h("li", {}, h("span", {}, h("i", { class: "dot rest" }), "other words")));
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.field;
    if (!width || !height) return;
    const ratio = devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.camera.resize(width, height);
    this.#draw();
  }

  #soon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.#draw();
    });
  }

  get walked() {
    const t = Math.min(1, (performance.now() - this.begun) / WALK);
    return t < 0.5 ? 4 * t ** 3 : 1 - (-2 * t + 2) ** 3 / 2;
  }

  #draw() {
    const { width, height, scale, centre, zoom } = this.camera;
    if (!this.ended || !width) return;
    const factor = [(2 * scale) / width, (2 * scale) / height];
    const t = this.walked;
    const size = Math.max(2.5, Math.min(14, (260 / Math.sqrt(this.number)) * Math.sqrt(zoom))) * (devicePixelRatio || 1);
    this.points.draw({ t, scale: factor, offset: [-centre[0] * factor[0], -centre[1] * factor[1]], size, colours: palette(this.field, this.words, this.only), edge: colourOf(this.field, "--ink") });
    if (t < 1) {
      this.faces.replaceChildren();
      this.#soon();
    } else this.#drawFaces();
  }

  #toScreen(point) {
    return this.camera.toScreen(this.ended[2 * point], this.ended[2 * point + 1]);
  }

  // Where few points are on the screen, they are pictures.
  #drawFaces() {
    const visible = [];
    const [left, top] = this.camera.toMap([0, 0]);
    const [right, bottom] = this.camera.toMap([this.camera.width, this.camera.height]);
    for (let point = 0; point < this.number && visible.length <= FACES; point++) {
      const [x, y] = [this.ended[2 * point], this.ended[2 * point + 1]];
      if (x >= left && x <= right && y <= top && y >= bottom && this.codes[point] !== HIDDEN) visible.push(point);
    }
    if (visible.length > FACES) {
      this.faces.replaceChildren();
      return;
    }
    const there = new Map([...this.faces.children].map((each) => [Number(each.dataset.point), each]));
    for (const [point, face] of there) if (!visible.includes(point)) face.remove();
    const unknown = visible.filter((point) => !this.known.has(point));
    if (unknown.length) this.#learn(unknown);
    for (const point of visible) {
      const image = this.known.get(point);
      if (!image) continue;
      const face = there.get(point) ?? h("span", { class: "face", dataset: { point } }, picture(image.image_id));
      const [x, y] = this.#toScreen(point);
      face.style.transform = `translate(${x}px, ${y}px) translate(-50%, -50%)`;
      if (!face.isConnected) this.faces.append(face);
    }
  }

  async #learn(wanted) {
    if (this.learning) return;
    this.learning = true;
    const { condition, images } = this;
    try {
      const found = await ask("points", { space: state.space, condition, points: wanted });
      if (images === this.images && condition === this.condition) {
        wanted.forEach((point, place) => this.known.set(point, found.images[place]));
        this.#soon();
      }
    } catch {
      /* the map shows points; a picture that does not come leaves one */
    } finally {
      this.learning = false;
    }
  }

  nearest(at, within) {
    const [mx, my] = this.camera.toMap(at);
    let best = -1;
    let least = (within / this.camera.scale) ** 2;
    for (let point = 0; point < this.number; point++) {
      const far = (this.ended[2 * point] - mx) ** 2 + (this.ended[2 * point + 1] - my) ** 2;
      if (far < least && this.codes[point] !== HIDDEN) [best, least] = [point, far];
    }
    return best;
  }

  #zoom(factor, at) {
    this.camera.zoomBy(factor, at);
    this.#forget();
    this.#soon();
  }

  #all() {
    this.camera.fit();
    this.#forget();
    this.#soon();
  }

  #setLasso(on) {
    this.lassoing = on;
    this.lassoButton?.setAttribute("aria-pressed", String(on));
    this.field.classList.toggle("drawing", on);
  }

  #drawLasso(corners) {
    this.line.setAttribute("points", corners.map((each) => each.join(",")).join(" "));
  }

  #closeLasso(corners) {
    this.#drawLasso([]);
    this.#setLasso(false);
    if (!this.ended || corners.length < 3) return;
    // A few hundred corners tell as much as a thousand, in a shorter link.
    const every = Math.ceil(corners.length / 200);
    const polygon = corners.filter((_, place) => place % every === 0).map((each) => this.camera.toMap(each).map((number) => Number(number.toFixed(6))));
    if (polygon.length < 3) return;
    go({ view: "images", lasso: { condition: this.condition, polygon }, group: null, text: [], image_id: [], upload: [] });
  }

  async #click(place, within = NEAR) {
    if (!this.ended) return;
    const point = this.nearest(place, within);
    if (point < 0) return;
    const image = this.known.get(point) ?? (await ask("points", { space: state.space, condition: this.condition, points: [point] }).catch(() => null))?.images[0];
    if (image) go({ open: image.image_id });
  }

  #forget() {
    clearTimeout(this.tipping);
    this.hovered = -1;
    this.tip.hidden = true;
  }

  #hover(place, within = NEAR) {
    if (!this.ended || this.lassoing) return;
    const point = this.nearest(place, within);
    this.hovered = point;
    this.field.classList.toggle("hand", point >= 0);
    if (point < 0) return this.#forget();
    clearTimeout(this.tipping);
    this.tipping = setTimeout(async () => {
      if (!this.known.has(point)) {
        const found = await ask("points", { space: state.space, condition: this.condition, points: [point] }).catch(() => null);
        if (found) this.known.set(point, found.images[0]);
      }
      const image = this.known.get(point);
      if (!image || this.hovered !== point) return;
      fill(this.tip, picture(image.image_id), h("b", {}, image.words[0] ? word(image.words[0].word) : ""), h("small", {}, image.image_id));
      const [x, y] = this.#toScreen(point);
      this.tip.hidden = false;
      const beside = (at, most) => Math.max(0, Math.min(at + 14, most)); // the nearest to the middle may be off the screen
      this.tip.style.transform = `translate(${beside(x, this.camera.width - 170)}px, ${beside(y, this.camera.height - 190)}px)`;
    }, 60);
  }
}

const bytes = (text) => Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
