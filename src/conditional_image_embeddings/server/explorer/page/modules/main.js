// The page: what the address says is drawn, and drawn anew where it says something else.

import { Latest, collection, collections, see, stateNow } from "./api.js";
import { drawAspects } from "./aspects.js";
import { drawChosen, drawComparison, isPicked, openCommand, openKeep, pick, startDialogs } from "./chosen.js";
import { byId, count, fill, h, named, plural } from "./dom.js";
import { drawFacets, drawFilters, startWhere } from "./facets.js";
import { Grid } from "./grid.js";
import { drawDuplicates, drawGroups } from "./groups.js";
import { drawMap } from "./map.js";
import { drawPanel, drawPicked } from "./panel.js";
import { ModelWatch, drawQuery, startSearchBox } from "./search_box.js";
import { EMPTY, filtersOf, go, isQuery, start, state, subscribe, viewOf, write } from "./state.js";

const VIEWS = { images: "Images", groups: "Groups", duplicates: "Duplicates", map: "Map" };
const LOOKED_AT_AGAIN = 5000; // milliseconds
const SIZE = "cie-size";

let every = []; // the collections that are open here
let about = null; // what the server says of the collection
let space = null;
let grid = null;
let total = null;
const models = new ModelWatch();
const entering = new Latest();

const failed = (message) => {
  const place = byId("problem");
  place.hidden = !message;
  fill(place, message ?? "", message && h("button", { type: "button", class: "button close", "aria-label": "Close", onclick: () => failed(null) }, "×"));
};

async function begin() {
  start();
  try {
    every = await collections();
  } catch (error) {
    return failed(error.message);
  }
  const select = byId("collections").querySelector("select");
  fill(select, every.map((each) => h("option", { value: each.name }, each.name)));
  select.addEventListener("change", () => go({ ...EMPTY, view: state.view, in: select.value }));
  byId("collections").hidden = every.length < 2;
  document.querySelector("#top h1").classList.toggle("visually-hidden", every.length > 1); // the list says it
  await enter();
}

const isKnown = (condition) => space.conditions.some((each) => each.condition === condition);

// Whether all that the address names is what the page knows of.
function isSettled(now) {
  if (!about || now.in !== about.name) return false;
  if (!space) return true;
  return now.space === space.space && now.conditions.length > 0 && now.conditions.every((each) => isKnown(each.condition)) && (now.by === undefined || isKnown(now.by));
}

// Look at what the address names; what it leaves open, or names wrongly, is the first that there is.
async function enter() {
  if (!every.length) return; // the list is on its way
  shown = {};
  const asked = state.in;
  state.in = (every.find((each) => each.name === asked) ?? every[0]).name;
  const answer = await entering.run(collection);
  if (!answer) return;
  if (answer.error) return failed(answer.error);
  about = answer.found;
  document.title = `${about.name}: explore`;
  fill(byId("title"), about.name);
  byId("title").title = about.path;
  byId("collections").querySelector("select").value = about.name;
  byId("changed").hidden = true;
  const isEmpty = !about.spaces.length;
  document.body.classList.toggle("empty", isEmpty);
  byId("nothing").hidden = !isEmpty;
  if (isEmpty) {
    space = null;
    for (const view of Object.keys(VIEWS)) byId(view).hidden = true;
    fill(byId("nothing"), "This collection is empty. Put images into it with ", h("code", {}, `cie embed photos/ -c "car color" -m builtin -e ${about.path}`), ".");
    return go({ in: about.name }, { replace: true });
  }
  space = about.spaces.find((each) => each.space === state.space) ?? about.spaces[0];
  see(space.state);
  const select = byId("spaces").querySelector("select");
  fill(select, about.spaces.map((each) => h("option", { value: each.space, selected: each === space }, label(each))));
  select.onchange = () => go({ ...EMPTY, in: state.in, space: select.value, view: state.view, open: state.open, picked: state.picked });
  byId("spaces").hidden = about.spaces.length < 2;
  const conditions = state.conditions.filter((each) => isKnown(each.condition));
  const lost = state.conditions.filter((each) => !conditions.includes(each)).map((each) => named(each.condition));
  if (asked !== null && asked !== about.name) failed(`No collection ${asked} is open here: this is ${about.name}.`);
  else if (lost.length) failed(`Not embedded in this way: ${lost.join(", ")}.`);
  if (!conditions.length) conditions.push({ condition: (space.conditions.find((each) => each.condition !== null) ?? space.conditions[0]).condition, weight: 1 });
  if (!grid) makeGrid();
  go({ in: about.name, space: space.space, conditions, by: state.by !== undefined && isKnown(state.by) ? state.by : undefined }, { replace: true });
}

const label = (each) => `${each.title}, ${each.model}${each.is_refined ? ", refined" : ""} (${plural(each.conditions.filter((c) => c.condition !== null).length, "aspect")})`;

function makeGrid() {
  grid = new Grid(byId("scroller"), {
    open: (imageId) => go({ open: imageId }),
    pick,
    isPicked,
    told: (told) => {
      total = told.total ?? null;
      failedHere(told.error ?? null);
      byId("status").textContent = said(told);
    },
  });
  const size = byId("size");
  size.value = stored(SIZE) ?? 148;
  grid.setWidth(Number(size.value));
  size.addEventListener("input", () => {
    grid.setWidth(Number(size.value));
    keep(SIZE, size.value);
  });
}

function said({ total, searched, ranked, cut, exact, error }) {
  if (error && total === undefined) return "";
  if (!ranked) return total ? plural(total, "image") : "No image passes these filters.";
  if (!total) return "Nothing was found.";
  if (state.cut) return cut === null ? `No group stands out among ${plural(searched, "image")}: nothing was left out` : `${plural(total, "image")} of ${count(searched)} match`;
  return total < searched ? `The nearest ${count(total)} of ${count(searched)}${exact ? "" : ", from the index"}` : `${plural(total, "image")}, the nearest first`;
}

function failedHere(message) {
  const place = byId("images");
  place.querySelector(".error")?.remove();
  if (message) byId("scroller").before(h("p", { class: "error", role: "alert" }, message));
}

const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

let shown = {}; // what each part was drawn of

// Draw a part if what it is made of is another than before.
function part(name, made, draw) {
  const key = JSON.stringify(made);
  if (shown[name] === key) return;
  shown[name] = key;
  draw();
}

function draw(now) {
  if (!isSettled(now)) return enter();
  if (!space) return;
  for (const view of Object.keys(VIEWS)) byId(view).hidden = now.view !== view;
  document.body.dataset.view = now.view;
  part("views", [now.view], drawViews);
  part("aspects", [now.space, now.conditions, isQuery()], () => drawAspects(byId("aspects"), space));
  part("query", [now.text, now.image_id, now.upload], drawQuery);
  part("filters", [now.facets, now.where, now.group, now.lasso], drawFilters);
  part("chosen", [now.picked], () => {
    drawChosen(() => total);
    drawPicked();
    grid.refreshPicks();
  });
  part("panel", [now.space, now.open, now.conditions.map((each) => each.condition)], () => drawPanel(space, { back: () => grid.focus() }));
  part("pair", [now.space, now.pair], drawComparison);
  byId("cut").hidden = !isQuery();
  byId("cut").firstElementChild.checked = now.cut;
  let pictures = null;
  if (now.view === "images") part("images", viewOf(), () => models.during((pictures = grid.show(viewOf())), byId("loading")));
  // Pictures first, unless they wait for a model.
  part("facets", [now.space, now.conditions.map((each) => each.condition), now.facets, now.where, now.group, now.lasso], () => Promise.race([pictures, pictures && pause(500)]).then(() => drawFacets(space)));
  if (now.view === "groups") part("groups", [now.space, now.conditions, now.by, now.n, now.facets, now.where, now.lasso], () => drawGroups(space));
  if (now.view === "duplicates") part("duplicates", [now.space, now.conditions, now.threshold, filtersOf()], () => drawDuplicates(space));
  if (now.view === "map") part("map", [now.space, now.conditions, now.by, now.facets, now.where], () => drawMap(space));
}

function drawViews() {
  fill(byId("views"), Object.entries(VIEWS).map(([view, title]) => {
    const link = h("a", { href: write({ ...state, view }), "aria-current": view === state.view ? "page" : null }, title);
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      go({ view });
    });
    return link;
  }));
}

// Somebody may be embedding meanwhile.
async function lookAgain() {
  if (document.hidden || !about) return;
  const now = await stateNow().catch(() => null);
  if (!now || now.state === (space?.state ?? null)) return;
  const more = now.images - (space ? Math.max(...space.conditions.map((each) => each.images)) : 0);
  const place = byId("changed");
  if (!place.hidden && place.dataset.state === now.state) return;
  place.dataset.state = now.state;
  place.hidden = false;
  fill(place, space ? `The collection has changed${more > 0 ? `: ${plural(more, "image")} more` : more < 0 ? `: ${plural(-more, "image")} fewer` : ""}. ` : "There are images now. ",
    h("button", { type: "button", class: "button", onclick: enter }, "Show"));
}

function keyed(event) {
  const typing = event.target.matches?.("input:not([type=range], [type=checkbox], [type=radio]), select, textarea");
  if (event.key === "/" && !typing && !document.querySelector("dialog[open]")) {
    event.preventDefault();
    byId("words").focus();
  } else if (event.key === "Escape" && state.open !== null && !document.querySelector("dialog[open]")) {
    go({ open: null });
  }
}

const stored = (name) => {
  try {
    return localStorage.getItem(name);
  } catch {
    return null; // a browser may keep nothing
  }
};
const keep = (name, value) => {
  try {
    localStorage.setItem(name, value);
  } catch {
    /* as above */
  }
};

addEventListener("keydown", keyed);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address is the state
  byId("main").focus();
});
byId("cut").firstElementChild.addEventListener("change", (event) => go({ cut: event.target.checked }));
byId("export").addEventListener("click", () => openKeep(total));
for (const button of document.querySelectorAll(".as-command")) button.addEventListener("click", openCommand);
if (matchMedia("(max-width: 760px)").matches) byId("side").open = false;
startDialogs();
startSearchBox({ failed });
startWhere();
subscribe(draw);
setInterval(lookAgain, LOOKED_AT_AGAIN);
begin();
