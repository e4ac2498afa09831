// What is looked at, as the address says it: every view is a link, and the back button leads to the one before.
// It is the part after "#", which a browser keeps to itself.

const listeners = new Set();

export const EMPTY = {
  in: null, // the collection
  space: null, // how it was embedded
  view: "images",
  conditions: [], // {condition, weight}, in the order shown
  text: [], // {value, weight}
  image_id: [],
  upload: [],
  facets: [], // {condition, words, excluded}
  where: null,
  group: null, // {condition, n, number}
  lasso: null, // {condition, polygon}
  cut: false,
  open: null, // the image of the panel
  picked: [],
  pair: null, // the two that are compared
  by: undefined, // the condition of groups and of the map; undefined: the first that counts
  n: null, // groups; null: as many as fit best
  threshold: null, // of duplicates
};

export let state = structuredClone(EMPTY);

const escaped = (part) => part.replace(/[%~]/g, encodeURIComponent).replace(/~/g, "%7E");
const pack = (...parts) => parts.map((part) => escaped(String(part))).join("~");
const unpack = (text) => text.split("~").map((part) => decodeURIComponent(part));
// "" is no condition: conditions are never empty.
const name = (text) => (text === "" ? null : text);
const weight = (text) => (Number.isFinite(Number(text)) ? Math.max(-100, Math.min(100, Number(text))) : 1);

export function write(from) {
  const pairs = [];
  const add = (key, value) => pairs.push([key, value]);
  if (from.in) add("in", from.in);
  if (from.space) add("space", from.space);
  if (from.view !== "images") add("view", from.view);
  for (const { condition, weight } of from.conditions) add("c", pack(condition ?? "", weight));
  for (const kind of ["text", "image_id", "upload"]) {
    for (const { value, weight } of from[kind]) add(kind, weight === 1 ? pack(value) : pack(value, weight));
  }
  for (const { condition, words, excluded } of from.facets) add(excluded ? "not" : "is", pack(condition ?? "", ...words));
  if (from.where) add("where", from.where);
  if (from.group) add("group", pack(from.group.condition ?? "", from.group.n ?? "", from.group.number));
  if (from.lasso) add("lasso", pack(from.lasso.condition ?? "", ...from.lasso.polygon.flat()));
  if (from.cut) add("cut", "auto");
  if (from.open !== null) add("open", from.open);
  for (const each of from.picked) add("pick", each);
  if (from.pair) add("pair", pack(...from.pair));
  if (from.by !== undefined) add("by", from.by ?? "");
  if (from.n) add("n", from.n);
  if (from.threshold !== null) add("threshold", from.threshold);
  return `#${new URLSearchParams(pairs)}`;
}

// A link may be old, or typed by hand: what cannot be read is left out.
export function parse(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const found = structuredClone(EMPTY);
  const read = (key, use) => {
    for (const text of given.getAll(key)) {
      try {
        use(text);
      } catch {
        /* left out */
      }
    }
  };
  read("in", (text) => (found.in = text));
  read("space", (text) => (found.space = text));
  read("view", (text) => (found.view = ["images", "groups", "duplicates", "map"].includes(text) ? text : "images"));
  read("c", (text) => {
    const [condition, number] = unpack(text);
    if (!found.conditions.some((each) => each.condition === name(condition))) {
      found.conditions.push({ condition: name(condition), weight: weight(number ?? "1") });
    }
  });
  for (const kind of ["text", "image_id", "upload"]) {
    read(kind, (text) => {
      const [value, number] = unpack(text);
      if (value) found[kind].push({ value, weight: weight(number ?? "1") });
    });
  }
  for (const [key, excluded] of [["is", false], ["not", true]]) {
    read(key, (text) => {
      const [condition, ...words] = unpack(text);
      if (words.length) found.facets.push({ condition: name(condition), words, excluded });
    });
  }
  read("where", (text) => (found.where = text || null));
  read("group", (text) => {
    const [condition, n, number] = unpack(text);
    if (Number(number) >= 1) found.group = { condition: name(condition), n: Number(n) || null, number: Number(number) };
  });
  read("lasso", (text) => {
    const [condition, ...flat] = unpack(text);
    const numbers = flat.map(Number);
    const polygon = numbers.flatMap((x, i) => (i % 2 ? [] : [[x, numbers[i + 1]]]));
    if (polygon.length >= 3 && polygon.flat().every(Number.isFinite)) found.lasso = { condition: name(condition), polygon };
  });
  found.cut = given.get("cut") === "auto";
  read("open", (text) => (found.open = text));
  read("pick", (text) => found.picked.includes(text) || found.picked.push(text));
  read("pair", (text) => {
    const pair = unpack(text);
    if (pair.length === 2) found.pair = pair;
  });
  read("by", (text) => (found.by = name(text)));
  read("n", (text) => (found.n = Number(text) >= 1 ? Math.floor(Number(text)) : null));
  read("threshold", (text) => (found.threshold = Number(text) >= 0 && Number(text) <= 1 ? Number(text) : null));
  return found;
}

export function subscribe(listener) {
  listeners.add(listener);
}

// Change what is looked at. `replace` writes over the present address: for steps nobody would go back to.
export function go(changes, { replace = false } = {}) {
  const before = state;
  // A group is one of the images that pass the other filters: of other images it would be another one.
  const regroups = !("group" in changes) && ["facets", "where", "lasso"].some((key) => key in changes);
  state = { ...state, ...(regroups ? { group: null } : {}), ...changes };
  const hash = write(state);
  if (hash !== location.hash) history[replace ? "replaceState" : "pushState"](null, "", hash);
  for (const listener of listeners) listener(state, before);
}

export function start() {
  const follow = () => {
    const before = state;
    state = parse(location.hash);
    for (const listener of listeners) listener(state, before);
  };
  addEventListener("popstate", follow);
  state = parse(location.hash);
}

export const isQuery = (of = state) => of.text.length + of.image_id.length + of.upload.length > 0;

// The part of the state that decides which images are shown, as the server is asked for it.
export function viewOf(of = state) {
  return {
    space: of.space,
    conditions: of.conditions,
    query: { text: of.text, image_id: of.image_id, upload: of.upload },
    filters: filtersOf(of),
    cut: of.cut,
  };
}

export const filtersOf = (of = state) => ({ where: of.where, facets: of.facets, group: of.group, lasso: of.lasso });
