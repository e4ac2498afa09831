// Elements from values. What comes from a collection (names, words, labels) only ever becomes text, never markup.

export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) element.style.setProperty(name, value);
    else if (name === "class") element.className = value;
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (["value", "checked", "indeterminate"].includes(name)) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const byId = (id) => document.getElementById(id);

// New children in place of the old. Who was among these with the keyboard stays where they were: at what has the same
// key or label now, otherwise at the same place.
export function fill(element, ...children) {
  const focused = element.contains(document.activeElement) ? document.activeElement : null;
  const before = focused && operated(element).indexOf(focused);
  element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  if (!focused || before < 0) return;
  const now = operated(element);
  (now.find((each) => label(each) === label(focused)) ?? now[Math.min(before, now.length - 1)])?.focus({ preventScroll: true });
}

const operated = (element) => [...element.querySelectorAll("a, button, input, select, [tabindex]")];
const label = (element) => element.dataset.key ?? element.getAttribute("aria-label") ?? element.textContent;

// A condition as people read it.
export const named = (condition) => (condition === null ? "no condition" : condition);
export const word = (text) => (text === "" ? "(nothing)" : text);
export const count = (number) => number.toLocaleString("en");
export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;
export const percent = (share) =>
  share === null ? "" : share > 0.9995 && share < 1 ? ">99.9%" : `${(100 * share).toFixed(share > 0.99 && share < 1 ? 1 : 0)}%`;

// How similar: a bar as long as the share of random pairs that are less similar; the cosine where no share is known.
export function bar({ cosine, percentile }) {
  const length = percentile ?? Math.max(0, cosine);
  const meaning = percentile === null ? `cosine ${cosine.toFixed(3)}` : `more similar than ${percent(percentile)} of random pairs`;
  return h("span", { class: "bar", title: meaning, role: "img", "aria-label": meaning }, h("i", { "--length": length.toFixed(4) }));
}
