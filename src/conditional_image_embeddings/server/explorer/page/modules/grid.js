// A grid of as many images as there are: only those on the screen are elements, and only some pages of rows are held.

import { ask } from "./api.js";
import { bar, count, h, named, percent, word } from "./dom.js";
import { picture } from "./pictures.js";

const PAGE = 100; // images per request
const HELD = 60; // pages
const AT_ONCE = 3; // requests for pages
const OVERSCAN = 2; // rows above and below the screen
const GAP = 12;
const MOST = 100_000; // hits of a query
const TALLEST = 16_000_000; // pixels, of what browsers can scroll

export class Grid {
  // `open(imageId)`, `pick(imageId, {range})`, `told({total, ...} | {error})`
  constructor(scroller, { open, pick, isPicked, told }) {
    this.scroller = scroller;
    this.given = { open, pick, isPicked, told };
    this.list = h("ul", { class: "tiles", role: "listbox", "aria-label": "Images", "aria-multiselectable": "true" });
    scroller.append(this.list);
    this.tiles = new Map(); // index to element
    this.pages = new Map(); // number to rows, or to the request that brings them
    this.focused = 0;
    this.width = 148;
    this.view = null;
    this.total = 0;
    this.scroller.addEventListener("scroll", () => this.#soon(), { passive: true });
    new ResizeObserver(() => this.#measure()).observe(scroller);
    this.list.addEventListener("click", (event) => this.#clicked(event));
    this.list.addEventListener("keydown", (event) => this.#keyed(event));
  }

  // Show another view, from its top.
  async show(view) {
    this.view = view;
    this.k = 1000;
    this.scroller.scrollTop = 0;
    this.focused = 0;
    await this.#begin();
  }

  async #begin() {
    this.controller?.abort();
    this.controller = new AbortController();
    const { signal } = this.controller;
    this.pages = new Map();
    this.growing = true;
    this.scroller.setAttribute("aria-busy", "true");
    try {
      const first = await this.#request(0, signal);
      if (signal.aborted) return;
      this.total = first.total;
      this.pages.set(0, first.images);
      this.about = first;
      this.given.told(first);
    } catch (error) {
      if (signal.aborted) return;
      this.total = 0;
      this.given.told({ error: error.message });
    }
    this.scroller.removeAttribute("aria-busy");
    this.growing = false;
    this.#redraw();
  }

  #request(page, signal) {
    return ask("images", { ...this.view, k: this.k, offset: page * PAGE, limit: PAGE }, signal);
  }

  setWidth(width) {
    this.width = width;
    this.#redraw();
  }

  refreshPicks() {
    for (const tile of this.tiles.values()) tile.setAttribute("aria-selected", String(this.given.isPicked(tile.dataset.id)));
  }

  ids(from, to) {
    const [first, last] = from < to ? [from, to] : [to, from];
    const found = [];
    for (let index = first; index <= last; index++) {
      const row = this.#row(index);
      if (row) found.push(row.image_id);
    }
    return found;
  }

  focus(index = this.focused) {
    if (!this.total) return;
    this.focused = Math.max(0, Math.min(this.total - 1, index));
    const top = Math.floor(this.focused / this.columns) * this.rowHeight;
    const { scrollTop, clientHeight } = this.scroller;
    if (top < scrollTop) this.scroller.scrollTop = top;
    else if (top + this.rowHeight > scrollTop + clientHeight) this.scroller.scrollTop = top + this.rowHeight - clientHeight + GAP;
    this.#render();
    for (const [at, tile] of this.tiles) tile.tabIndex = at === this.focused ? 0 : -1;
    this.tiles.get(this.focused)?.focus({ preventScroll: true });
  }

  #measure() {
    const inner = this.scroller.clientWidth - 2 * GAP;
    if (inner <= 0) return;
    const wanted = Math.min(this.width, (inner - 2 * GAP) / 3); // a phone shows three
    this.columns = Math.max(1, Math.floor((inner + GAP) / (wanted + GAP)));
    this.tile = Math.floor((inner - GAP * (this.columns - 1)) / this.columns);
    this.lines = Math.min(3, this.view?.conditions.length ?? 0);
    this.ranked = Boolean(this.about?.ranked);
    this.rowHeight = this.tile + 10 + this.lines * (this.ranked ? 25 : 18) + GAP;
    const rows = Math.ceil(this.total / this.columns);
    this.height = Math.min(TALLEST, rows * this.rowHeight + GAP);
    this.list.style.height = `${this.height}px`;
    this.list.style.setProperty("--tile", `${this.tile}px`);
    for (const [index, tile] of this.tiles) this.#put(tile, index);
    this.#render();
  }

  #soon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.#render();
    });
  }

  #render() {
    if (!this.columns) return;
    const { scrollTop, clientHeight } = this.scroller;
    const first = Math.max(0, (Math.floor(scrollTop / this.rowHeight) - OVERSCAN) * this.columns);
    const last = Math.min(this.total, (Math.ceil((scrollTop + clientHeight) / this.rowHeight) + OVERSCAN) * this.columns);
    for (const [index, tile] of this.tiles) {
      if ((index < first || index >= last) && tile !== document.activeElement) {
        tile.remove();
        this.tiles.delete(index);
      }
    }
    for (let index = first; index < last; index++) {
      if (this.tiles.has(index)) continue;
      const tile = this.#made(index);
      this.tiles.set(index, tile);
      this.list.append(tile);
    }
    this.#fetch(first, last);
    // The nearest thousand come from an index; who scrolls beyond gets ten times as many.
    if (this.growing || !this.ranked || last < this.total || this.total < this.k || this.k >= MOST || this.total >= this.about.searched) return;
    this.k = Math.min(MOST, this.k * 10);
    this.#begin();
  }

  // A while later: the pages that are on the screen then, and the next one on the way.
  #fetch(first, last) {
    this.range = { first, last, down: first >= (this.range?.first ?? 0) };
    this.#soonBring();
  }

  // A timer that began anew with each step would bring nothing to who scrolls without a pause.
  #soonBring() {
    if (this.#wanted().length) this.waiting ??= setTimeout(() => this.#bring(), 40);
  }

  #wanted() {
    const { first, last, down } = this.range;
    if (!this.total) return [];
    const numbers = [];
    for (let page = Math.floor(first / PAGE); page <= Math.floor(Math.max(first, last - 1) / PAGE); page++) numbers.push(page);
    const ahead = down ? numbers.at(-1) + 1 : numbers[0] - 1;
    if (first > 0 && ahead >= 0 && ahead * PAGE < this.total) numbers.push(ahead);
    return numbers.filter((page) => !this.pages.has(page));
  }

  #bring() {
    this.waiting = null;
    const coming = [...this.pages.values()].filter((rows) => rows === null).length;
    for (const page of this.#wanted().slice(0, Math.max(0, AT_ONCE - coming))) this.#load(page);
  }

  async #load(page) {
    if (this.pages.has(page)) return;
    const { signal } = this.controller;
    const pages = this.pages;
    pages.set(page, null);
    try {
      const { images } = await this.#request(page, signal);
      if (signal.aborted) return;
      pages.set(page, images);
      for (const old of [...pages.keys()].slice(0, Math.max(0, pages.size - HELD))) if (old !== page && old !== 0) pages.delete(old);
      for (const [index, tile] of this.tiles) {
        if (Math.floor(index / PAGE) === page && !tile.dataset.id) this.#put(tile, index);
      }
      this.#soonBring();
    } catch (error) {
      if (signal.aborted) return;
      pages.delete(page);
      this.given.told({ ...this.about, error: error.message });
    }
  }

  #row(index) {
    return this.pages.get(Math.floor(index / PAGE))?.[index % PAGE] ?? null;
  }

  #made(index) {
    const tile = h("li", { class: "tile", role: "option", tabindex: index === this.focused ? "0" : "-1" });
    tile.dataset.index = index;
    this.#put(tile, index);
    return tile;
  }

  #put(tile, index) {
    const row = Math.floor(index / this.columns);
    tile.style.transform = `translate(${GAP + (index % this.columns) * (this.tile + GAP)}px, ${GAP + row * this.rowHeight}px)`;
    tile.style.width = `${this.tile}px`;
    tile.style.height = `${this.rowHeight - GAP}px`;
    tile.setAttribute("aria-posinset", index + 1);
    tile.setAttribute("aria-setsize", this.total);
    const known = this.#row(index);
    if (!known) {
      tile.setAttribute("aria-label", "loading");
      tile.setAttribute("aria-selected", "false");
      return;
    }
    if (tile.dataset.id === known.image_id) return;
    tile.dataset.id = known.image_id;
    tile.title = known.image_id;
    tile.setAttribute("aria-selected", String(this.given.isPicked(known.image_id)));
    tile.setAttribute("aria-label", this.#said(known));
    tile.replaceChildren(picture(known.image_id), h("span", { class: "tick", "aria-hidden": "true" }), ...this.#lines(known));
  }

  #said(row) {
    const about = this.view.conditions.map(({ condition }, at) => {
      const first = row.words[at]?.[0];
      return `${named(condition)}${first ? `: ${word(first.word)}` : ""}${this.ranked && row.percentiles[at] !== null ? `, ${percent(row.percentiles[at])}` : ""}`;
    });
    return `${this.ranked ? `${count(row.rank)}. ` : ""}${row.image_id}; ${about.join("; ")}`;
  }

  #lines(row) {
    return this.view.conditions.slice(0, this.lines).map(({ condition, weight }, at) => {
      const first = row.words[at]?.[0];
      const scored = this.ranked && row.scores[at] !== null; // with weight 0 it is not
      return h(
        "span",
        { class: weight < 0 ? "line away" : "line", title: named(condition) },
        h("span", { class: "said" }, first ? word(first.word) : named(condition)),
        scored && h("span", { class: "share" }, percent(row.percentiles[at]) || row.scores[at].toFixed(2)),
        scored && bar({ cosine: row.scores[at], percentile: row.percentiles[at] }),
      );
    });
  }

  #redraw() {
    const focused = this.list.contains(document.activeElement);
    for (const tile of this.tiles.values()) tile.remove();
    this.tiles.clear();
    this.#measure();
    if (focused) this.focus();
  }

  #clicked(event) {
    const tile = event.target.closest(".tile");
    if (!tile?.dataset.id) return;
    const index = Number(tile.dataset.index);
    const picks = event.ctrlKey || event.metaKey || event.shiftKey || event.target.closest(".tick");
    if (picks) this.given.pick(tile.dataset.id, event.shiftKey ? this.ids(this.focused, index) : null);
    this.focused = index;
    for (const [at, each] of this.tiles) each.tabIndex = at === index ? 0 : -1;
    tile.focus({ preventScroll: true });
    if (!picks) this.given.open(tile.dataset.id);
  }

  #keyed(event) {
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / this.rowHeight)) * this.columns;
    const steps = {
      ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns,
      PageUp: -page, PageDown: page, Home: -this.total, End: this.total,
    };
    const imageId = this.tiles.get(this.focused)?.dataset.id;
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key in steps) {
      const before = this.focused;
      this.focus(this.focused + steps[event.key]);
      if (event.shiftKey && imageId) this.given.pick(imageId, this.ids(before, this.focused));
    } else if (event.key === "Enter" && imageId) this.given.open(imageId);
    else if (event.key === " " && imageId) this.given.pick(imageId, null);
    else return;
    event.preventDefault();
  }
}
