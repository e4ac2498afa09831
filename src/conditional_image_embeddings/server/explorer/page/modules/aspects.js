// The aspects: a chip for each that counts, with its weight, in an order that can be dragged; a button for each other.

import { h, fill, named } from "./dom.js";
import { go, isQuery, state } from "./state.js";

const dragged = "text/x-aspect";

export function drawAspects(place, space) {
  const active = state.conditions;
  const others = space.conditions.map((each) => each.condition).filter((name) => !active.some((each) => each.condition === name));
  fill(
    place,
    active.map((each, index) => chip(each, index, active.length)),
    others.map((name) =>
      h("li", {}, h("button", { type: "button", class: "chip add", dataset: { key: `weight ${name}` }, onclick: () => set([...active, { condition: name, weight: 1 }]), "aria-label": `Add ${named(name)}` }, `+ ${named(name)}`)),
    ),
  );
}

const set = (conditions, options) => go({ conditions, by: undefined }, options);

function chip({ condition, weight }, index, several) {
  const replaced = (weight) => state.conditions.map((each) => (each.condition === condition ? { condition, weight } : each));
  const number = h("output", { class: "weight" }, weight.toFixed(1));
  const slider = h("input", {
    type: "range", dataset: { key: `weight ${condition}` }, min: "-1", max: "1", step: "0.1", value: Math.max(-1, Math.min(1, weight)),
    "aria-label": `Weight of ${named(condition)}`,
    "aria-valuetext": weight < 0 ? `${weight.toFixed(1)}, away from it` : weight.toFixed(1),
    title: isQuery() ? "Right: alike in this. Left: unlike in this." : "Weights count once there is something to be near to: a picture or words.",
    oninput: (event) => (number.textContent = Number(event.target.value).toFixed(1)),
    onchange: (event) => set(replaced(Number(event.target.value))),
  });
  const element = h(
    "li",
    {
      class: weight < 0 ? "chip active away" : "chip active", draggable: "true", dataset: { index },
      ondragstart: (event) => {
        if (event.target.matches?.("input")) return event.preventDefault();
        event.dataTransfer.setData(dragged, String(index));
        event.dataTransfer.effectAllowed = "move";
      },
      ondragover: (event) => event.dataTransfer.types.includes(dragged) && event.preventDefault(),
      ondrop: (event) => {
        if (!event.dataTransfer.types.includes(dragged)) return;
        event.preventDefault();
        move(Number(event.dataTransfer.getData(dragged)), index);
      },
    },
    h("button", {
      type: "button", class: "handle", "aria-label": `Move ${named(condition)}: arrow keys`, title: "Drag to order",
      onkeydown: (event) => {
        const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
        if (!step || index + step < 0 || index + step >= several) return;
        event.preventDefault();
        move(index, index + step);
      },
    }, "⠿"),
    h("span", { class: "called" }, named(condition)),
    slider,
    number,
    several > 1 && h("button", { type: "button", class: "remove", "aria-label": `Remove ${named(condition)}`, onclick: () => set(state.conditions.filter((each) => each.condition !== condition)) }, "×"),
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
