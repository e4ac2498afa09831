// The colours of words on the map: their own where all are colours, otherwise those of the series.

export const REST = 11; // the colour of all other words
export const HIDDEN = 12; // of what does not pass the filters

const pen = document.createElement("canvas").getContext("2d");

// A word as "#rrggbb" if it names a colour.
function cssColour(text) {
  if (!/^[a-z]+$/i.test(text) || !CSS.supports("color", text)) return null;
  pen.fillStyle = "#000000";
  pen.fillStyle = text.toLowerCase();
  return /^#[0-9a-f]{6}$/.test(pen.fillStyle) ? pen.fillStyle : null;
}

// "#rrggbb" as three numbers from 0 to 1.
const rgb = (text) => [1, 3, 5].map((place) => parseInt(text.length === 4 ? text[(place + 1) / 2].repeat(2) : text.slice(place, place + 2), 16) / 255);

// A custom property's colour, by day or by night.
export const colourOf = (element, name) => rgb(getComputedStyle(element).getPropertyValue(name).trim());

// The words' own colours: a red dot for "blue" would mislead. Null where one of them is none.
export function ownColours(words) {
  const found = words.map((each) => cssColour(each.word));
  return found.length && found.every(Boolean) ? found : null;
}

// Red, green, blue, alpha of each number, as they are at this moment; the word `only` stands out.
export function palette(element, words, only) {
  const own = ownColours(words);
  const some = Array.from({ length: REST }, (_, number) => [
    ...(own && number < own.length ? rgb(own[number]) : colourOf(element, `--series-${number + 1}`)),
    only === null || words[number]?.word === only ? 0.95 : 0.12,
  ]);
  const soft = colourOf(element, "--soft");
  return [...some, [...soft, only === null ? 0.6 : 0.1], [...soft, 0.08]];
}
