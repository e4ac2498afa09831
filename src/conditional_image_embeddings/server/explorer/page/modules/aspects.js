// The aspects: a chip for each that counts, with its weight, in an order that can be dragged; a button for each other.

import { h, fill, named } from "./dom.js";
import { go, isQuery, state } from "./state.js";

const DRAGGED = "text/x-aspect";
const SOON = 80; // milliseconds between two searches while a slider moves

let drawn = null; // the order of the chips that are there
let moved = false; // whether the slider's present move is in the history already

export function drawAspects(place, space) {
  const active = state.conditions;
  const order = JSON.stringify([space.space, active.map((each) => each.condition)]);
  // A slider that is replaced while it moves would be lost to the hand: chips of the same order are kept.
  if (order !== drawn) {
    drawn = order;
    const others = space.conditions.map((each) => each.condition).filter((name) => !active.some((each) => each.condition === name));
    fill(place, active.map(({ condition }, index) => chip(condition, index, active.length)), others.map(button));
  }
  active.forEach((each, index) => show(place.children[index], each));
}

const set = (conditions, options) => go({ conditions, by: undefined }, options);

const button = (name) =>
  h("li", {}, h("button", {
    type: "button", class: "chip add", "aria-label": `Add ${named(name)}`,
    onclick: () => {
      set([...state.conditions, { condition: name, weight: 1 }]);
      document.querySelectorAll("#aspects input")[state.conditions.length - 1]?.focus();
    },
  }, `+ ${named(name)}`));

function show(chip, { condition, weight }) {
  const slider = chip.querySelector("input");
  chip.classList.toggle("away", weight < 0);
  chip.querySelector("output").textContent = weight.toFixed(1);
  if (Number(slider.value) !== weight) slider.value = Math.max(-1, Math.min(1, weight));
  slider.setAttribute("aria-valuetext", weight < 0 ? `${weight.toFixed(1)}, away from ${named(condition)}` : weight.toFixed(1));
  slider.title = isQuery()
    ? "To the right: alike in this. To the left: unlike in this."
    : "Weights count once there is something to be near to: a picture or words.";
}

function chip(condition, index, several) {
  let waiting = 0;
  // The grid follows the slider; the history has one step per move.
  const weigh = (weight) => {
    set(state.conditions.map((each) => (each.condition === condition ? { condition, weight } : each)), { replace: moved });
    moved = true;
  };
  const slider = h("input", {
    type: "range", min: "-1", max: "1", step: "0.1", "aria-label": `Weight of ${named(condition)}`,
    oninput: (event) => {
      element.querySelector("output").textContent = Number(event.target.value).toFixed(1);
      clearTimeout(waiting);
      waiting = setTimeout(() => weigh(Number(event.target.value)), SOON);
    },
    onchange: (event) => {
      clearTimeout(waiting);
      weigh(Number(event.target.value));
      moved = false;
    },
  });
  const element = h(
    "li",
    {
      class: "chip active", draggable: "true",
      ondragstart: (event) => {
        event.dataTransfer.setData(DRAGGED, String(index));
        event.dataTransfer.effectAllowed = "move";
      },
      ondragover: (event) => event.dataTransfer.types.includes(DRAGGED) && event.preventDefault(),
      ondrop: (event) => {
        if (!event.dataTransfer.types.includes(DRAGGED)) return;
        event.preventDefault();
        move(Number(event.dataTransfer.getData(DRAGGED)), index);
      },
    },
    h("button", {
      type: "button", class: "handle", "aria-label": `Move ${named(condition)}: arrow keys`, title: "Drag to order",
      onkeydown: (event) => {
        const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
        if (!step || index + step < 0 || index + step >= several) return;
        event.preventDefault();
        move(index, index + step);
        document.querySelectorAll("#aspects .handle")[index + step]?.focus();
      },
    }, "⠿"),
    h("span", { class: "called", title: named(condition) }, named(condition)),
    slider,
    h("output", { class: "weight" }),
    several > 1 && h("button", {
      type: "button", class: "remove", "aria-label": `Remove ${named(condition)}`,
      onclick: () => set(state.conditions.filter((each) => each.condition !== condition)),
    }, "×"),
  );
  // A slider in something that can be dragged would be dragged with it.
  slider.addEventListener("pointerdown", () => (element.draggable = false));
  slider.addEventListener("pointerup", () => (element.draggable = true));
  return element;
}

function move(from, to) {
  const conditions = [...state.conditions];
  conditions.splice(to, 0, ...conditions.splice(from, 1));
  set(conditions);
}
