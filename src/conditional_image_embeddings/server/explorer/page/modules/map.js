// The collection on a plane: points in the colours of their words, that walk to their new places when the aspect
// changes; wheel and drag to look closer, a lasso to take some of them to the grid.

import { Latest, ask } from "./api.js";
import { byId, count, fill, h, named, word } from "./dom.js";
import { choice, conditionOf, working } from "./groups.js";
import { picture } from "./pictures.js";
import { Points } from "./points.js";
import { filtersOf, go, state } from "./state.js";

const REST = 11; // the colour of all other words
const HIDDEN = 12; // of what does not pass the filters
const WALK = 900; // milliseconds
const NEAR = 12; // pixels from which a point is meant
const FACES = 48; // so few points on the screen are shown as pictures
const PATIENCE = 400; // milliseconds

const latest = new Latest();
const meanwhile = new Latest();
let map = null;

export async function drawMap(space) {
  const place = byId("map");
  if (!map) map = new ImageMap(place);
  const condition = conditionOf();
  map.tools(space, condition);
  const filters = { ...filtersOf(), lasso: null, group: null };
  const request = { space: state.space, condition, filters };
  // UMAP takes its time where it was not computed before: until then the images lie by their principal components.
  const early = setTimeout(async () => {
    const answer = await meanwhile.run((signal) => ask("map", { ...request, method: "pca" }, signal));
    if (answer?.found) map.show(answer.found, condition, { final: false });
  }, PATIENCE);
  const answer = await working(latest, map.result, "Placing the images on a plane", (signal) => ask("map", request, signal));
  clearTimeout(early);
  meanwhile.cancel();
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
    this.tip = h("div", { class: "tip", hidden: true });
    this.lasso = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.lasso.setAttribute("class", "lasso");
    this.line = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
    this.lasso.append(this.line);
    this.field = h("div", { class: "plane", tabindex: "0", role: "application", "aria-label": "Map: arrow keys move it, plus and minus zoom, 0 shows all of it" }, this.canvas, this.faces, this.lasso, this.tip, this.result);
    this.legend = h("ul", { class: "legend", "aria-label": "Words" });
    this.foot = h("p", { class: "note" });
    fill(place, this.bar, this.field, this.legend, this.foot);
    this.points = new Points(this.canvas);
    this.points.restored = () => this.#soon();
    this.lassoing = false;
    this.pointers = new Map();
    this.known = new Map(); // point to {image_id, words}
    this.only = null; // the word that stands out
    this.#fit();
    new ResizeObserver(() => this.#resize()).observe(this.field);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#soon());
    this.#listen();
  }

  tools(space, condition) {
    const zoom = (label, said, action) => h("button", { type: "button", class: "button", "aria-label": said, title: said, onclick: action }, label);
    this.lassoButton = h("button", { type: "button", class: "button", "aria-pressed": String(this.lassoing), title: "Draw around points to see them as a grid (or hold Shift)", onclick: () => this.#setLasso(!this.lassoing) }, "Lasso");
    fill(this.bar, choice(space, condition, (by) => go({ by })), this.lassoButton,
      zoom("+", "Zoom in", () => this.#zoom(1.5)), zoom("−", "Zoom out", () => this.#zoom(1 / 1.5)), zoom("All", "Show all of it", () => (this.#fit(), this.#soon())));
  }

  // Where a map is not the final one, points may be looked at, but not taken by their places.
  show({ count: number, made_by: madeBy, words, places, numbers, passing, images }, condition, { final = true } = {}) {
    const ended = new Float32Array(bytes(places).buffer);
    const codes = bytes(numbers);
    const passes = passing === null ? null : bytes(passing);
    const colours = Uint8Array.from(codes, (code, point) => (passes && !passes[point] ? HIDDEN : code === 255 ? REST : code));
    // The same images in the same order can walk; others appear at once.
    const walks = this.images === images && (this.condition !== condition || this.final !== final) && !matchMedia("(prefers-reduced-motion: reduce)").matches;
    const begun = walks ? this.ended : ended;
    Object.assign(this, { images, condition, final, ended, number, codes: colours, words });
    this.lassoButton.disabled = !final;
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
    fill(this.legend, this.words.map(({ word: text, count: images }, number) =>
      h("li", {}, h("button", { type: "button", "aria-pressed": String(this.only === text), dataset: { key: text }, onclick: () => toggle(text) },
        this.#dot(text, number), word(text), h("small", {}, count(images))))),
      this.words.length > 0 && h("li", {}, h("span", {}, h("i", { class: "dot rest" }), "other words")));
  }

  #dot(text, number) {
    const dot = h("i", { class: "dot", dataset: { series: number + 1 } });
    if (this.ownColours) dot.style.background = cssColour(text);
    return dot;
  }

  // The colours of the moment, by day or by night: red, green, blue, alpha.
  #colours() {
    const own = this.ownColours;
    const all = Array.from({ length: REST }, (_, number) => {
      const text = this.words[number]?.word;
      const apart = this.only === null || text === this.only;
      return [...(own && text !== undefined ? rgb(cssColour(text)) : this.#seen(`--series-${number + 1}`)), apart ? 0.95 : 0.12];
    });
    return [...all, [...this.#seen("--soft"), this.only === null ? 0.6 : 0.1], [...this.#seen("--soft"), 0.08]];
  }

  #seen(name) {
    return rgb(getComputedStyle(this.field).getPropertyValue(name).trim());
  }

  // Words that are colours have their own: a red dot for "blue" would mislead.
  get ownColours() {
    return this.words.length > 0 && this.words.every((each) => each.word && cssColour(each.word));
  }

  #fit() {
    this.zoom = 1;
    this.centre = [0, 0];
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.field;
    if (!width || !height) return;
    const ratio = devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    Object.assign(this, { width, height, ratio, unit: (Math.min(width, height) / 2) * 0.94 });
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
    if (!this.ended || !this.width) return;
    const scale = this.unit * this.zoom;
    const factor = [(2 * scale) / this.width, (2 * scale) / this.height];
    const t = this.walked;
    const size = Math.max(2.5, Math.min(14, (260 / Math.sqrt(this.number)) * Math.sqrt(this.zoom))) * this.ratio;
    this.points.draw({ t, scale: factor, offset: [-this.centre[0] * factor[0], -this.centre[1] * factor[1]], size, colours: this.#colours(), edge: this.#seen("--ink") });
    if (t < 1) {
      this.faces.replaceChildren();
      this.#soon();
    } else this.#drawFaces();
  }

  toScreen(point) {
    const scale = this.unit * this.zoom;
    return [this.width / 2 + (this.ended[2 * point] - this.centre[0]) * scale, this.height / 2 - (this.ended[2 * point + 1] - this.centre[1]) * scale];
  }

  toMap([x, y]) {
    const scale = this.unit * this.zoom;
    return [(x - this.width / 2) / scale + this.centre[0], (this.height / 2 - y) / scale + this.centre[1]];
  }

  // Where few points are on the screen, they are pictures.
  #drawFaces() {
    const visible = [];
    const [left, top] = this.toMap([0, 0]);
    const [right, bottom] = this.toMap([this.width, this.height]);
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
      const [x, y] = this.toScreen(point);
      face.style.transform = `translate(${x}px, ${y}px) translate(-50%, -50%)`;
      if (!face.isConnected) this.faces.append(face);
    }
  }

  #images(points) {
    return ask("points", { space: state.space, condition: this.condition, method: this.final ? null : "pca", points, images: this.images });
  }

  async #learn(wanted) {
    if (this.learning) return;
    this.learning = true;
    const { condition, images } = this;
    try {
      const found = await this.#images(wanted);
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

  nearest([x, y]) {
    const [mx, my] = this.toMap([x, y]);
    let best = -1;
    let least = (NEAR / (this.unit * this.zoom)) ** 2;
    for (let point = 0; point < this.number; point++) {
      const far = (this.ended[2 * point] - mx) ** 2 + (this.ended[2 * point + 1] - my) ** 2;
      if (far < least && this.codes[point] !== HIDDEN) [best, least] = [point, far];
    }
    return best;
  }

  #zoom(factor, at = [this.width / 2, this.height / 2]) {
    const fixed = this.toMap(at);
    this.zoom = Math.max(0.5, Math.min(2000, this.zoom * factor));
    const moved = this.toMap(at);
    this.centre = [this.centre[0] + fixed[0] - moved[0], this.centre[1] + fixed[1] - moved[1]];
    this.#forget();
    this.#soon();
  }

  #pan(x, y) {
    const scale = this.unit * this.zoom;
    this.centre = [this.centre[0] - x / scale, this.centre[1] + y / scale];
    this.#soon();
  }

  #setLasso(on) {
    this.lassoing = on;
    this.lassoButton?.setAttribute("aria-pressed", String(on));
    this.field.classList.toggle("drawing", on);
  }

  #listen() {
    const { field } = this;
    const at = (event) => {
      const box = field.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    field.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.#zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), at(event));
    }, { passive: false });
    field.addEventListener("pointerdown", (event) => {
      if (event.button || !this.ended) return;
      field.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, at(event));
      this.moved = 0;
      this.drawn = this.final && (this.lassoing || event.shiftKey) && this.pointers.size === 1 ? [at(event)] : null;
      this.#forget();
    });
    field.addEventListener("pointermove", (event) => {
      const now = at(event);
      const before = this.pointers.get(event.pointerId);
      if (!before) return this.#hover(now);
      this.pointers.set(event.pointerId, now);
      this.moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
      if (this.drawn) {
        this.drawn.push(now);
        this.line.setAttribute("points", this.drawn.map((each) => each.join(",")).join(" "));
      } else if (this.pointers.size === 2) {
        const other = [...this.pointers].find(([id]) => id !== event.pointerId)[1];
        const far = (a) => Math.hypot(a[0] - other[0], a[1] - other[1]) || 1;
        this.#zoom(far(now) / far(before), [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
      } else this.#pan(now[0] - before[0], now[1] - before[1]);
    });
    const up = (event) => {
      if (!this.pointers.delete(event.pointerId)) return;
      if (this.drawn) return this.#closeLasso();
      if (this.moved < 5 && event.type === "pointerup") this.#click(at(event));
    };
    field.addEventListener("pointerup", up);
    field.addEventListener("pointercancel", up);
    field.addEventListener("pointerleave", () => this.#forget());
    field.addEventListener("keydown", (event) => {
      const step = 60;
      const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
      if (event.key in moves) this.#pan(...moves[event.key]);
      else if (event.key === "+" || event.key === "=") this.#zoom(1.5);
      else if (event.key === "-") this.#zoom(1 / 1.5);
      else if (event.key === "0") this.#fit(), this.#soon();
      else return;
      event.preventDefault();
    });
  }

  #closeLasso() {
    const corners = this.drawn;
    this.drawn = null;
    this.line.setAttribute("points", "");
    this.#setLasso(false);
    if (corners.length < 3) return;
    // A few hundred corners tell as much as a thousand, in a shorter link.
    const every = Math.ceil(corners.length / 200);
    const polygon = corners.filter((_, place) => place % every === 0).map((each) => this.toMap(each).map((number) => Number(number.toFixed(6))));
    if (polygon.length < 3) return;
    go({ view: "images", lasso: { condition: this.condition, polygon }, group: null, text: [], image_id: [], upload: [] });
  }

  async #click(place) {
    const point = this.nearest(place);
    if (point < 0) return;
    const image = this.known.get(point) ?? (await this.#images([point]).catch(() => null))?.images[0];
    if (image) go({ open: image.image_id });
  }

  #forget() {
    clearTimeout(this.tipping);
    this.hovered = -1;
    this.tip.hidden = true;
  }

  #hover(place) {
    if (!this.ended || this.lassoing) return;
    const point = this.nearest(place);
    this.hovered = point;
    this.field.classList.toggle("hand", point >= 0);
    if (point < 0) return this.#forget();
    clearTimeout(this.tipping);
    this.tipping = setTimeout(async () => {
      if (!this.known.has(point)) {
        const found = await this.#images([point]).catch(() => null);
        if (found) this.known.set(point, found.images[0]);
      }
      const image = this.known.get(point);
      if (!image || this.hovered !== point) return;
      fill(this.tip, picture(image.image_id), h("b", {}, image.words[0] ? word(image.words[0].word) : ""), h("small", {}, image.image_id));
      const [x, y] = this.toScreen(point);
      this.tip.hidden = false;
      this.tip.style.transform = `translate(${Math.min(x + 14, this.width - 170)}px, ${Math.min(y + 14, this.height - 190)}px)`;
    }, 60);
  }
}

const bytes = (text) => Uint8Array.from(atob(text), (each) => each.charCodeAt(0));

// A word as "#rrggbb" if it names a colour.
const pen = document.createElement("canvas").getContext("2d");
function cssColour(text) {
  if (!/^[a-z]+$/i.test(text) || !CSS.supports("color", text)) return null;
  pen.fillStyle = "#000000";
  pen.fillStyle = text.toLowerCase();
  return /^#[0-9a-f]{6}$/.test(pen.fillStyle) ? pen.fillStyle : null;
}

// "#rrggbb" as three numbers from 0 to 1.
const rgb = (text) => [1, 3, 5].map((place) => parseInt(text.length === 4 ? text[(place + 1) / 2].repeat(2) : text.slice(place, place + 2), 16) / 255);
