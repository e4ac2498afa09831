"""What the bundled models are asked, and how: conditions with paraphrases, prompts, captions."""

import numpy as np
from render_images import ASPECTS

PARAPHRASES = {
    "car model": [
        "car model",
        "car type",
        "model of the car",
        "type of car",
        "vehicle type",
        "body style",
        "body type",
        "car body style",
        "type of vehicle",
        "the car model",
        "vehicle model",
        "kind of car",
        "the type of the car",
        "the model of the car",
        "vehicle category",
    ],
    "car color": [
        "car color",
        "car colour",
        "color of the car",
        "colour of the car",
        "vehicle color",
        "paint color",
        "body color",
        "the car color",
        "the color of the car",
        "vehicle colour",
        "color of the paint",
        "the vehicle's color",
        "colour of the paint",
        "the car's color",
        "base color of the car",
    ],
    "background color": [
        "background color",
        "background colour",
        "color of the background",
        "colour of the background",
        "background",
        "backdrop color",
        "backdrop",
        "the background color",
        "the background",
        "scene background",
        "backdrop colour",
        "color of the backdrop",
        "the color of the background",
        "the backdrop's color",
        "color behind the car",
    ],
    "viewpoint": [
        "viewpoint",
        "camera angle",
        "view",
        "viewing angle",
        "viewing direction",
        "the viewpoint",
        "camera position",
        "perspective",
        "angle of view",
        "the camera angle",
        "camera viewpoint",
        "the view of the car",
        "point of view",
        "direction of the camera",
        "side of the car that is seen",
    ],
    "paint pattern": [
        "paint pattern",
        "pattern",
        "pattern of the paint",
        "decoration",
        "the paint pattern",
        "car pattern",
        "surface pattern",
        "pattern on the car",
        "texture",
        "the pattern of the car",
        "paint style",
        "the pattern",
        "livery",
        "decal pattern",
        "the car's pattern",
    ],
}
HELD_OUT = {
    "car model": ["kind of vehicle", "the vehicle's body style"],
    "car color": ["the car's colour", "color of the vehicle"],
    "background color": ["the colour of the backdrop", "the background's color"],
    "viewpoint": ["angle of the camera", "the viewing direction"],
    "paint pattern": ["the pattern on the car", "the pattern of the paint"],
}
"""Paraphrases that are never trained, for testing."""

# Those of the paper, word for word; `{}` takes the condition.
PAPER_PROMPTS = [
    ('Describe this image in one word regarding {}: "', 'Describe this image in one word: "'),
    ('Express this image in one word in terms of {}: "', 'Express this image in one word: "'),
    ('Summarize this image in one word regarding {}: "', 'Summarize this image in one word: "'),
    ('Capture this image in one word based on {}: "', 'Capture this image in one word: "'),
    ('Convey this image in one word with respect to {}: "', 'Convey this image in one word: "'),
    ('Depict this image in one word, considering {}: "', 'Depict this image in one word: "'),
    ('Describe this image regarding {}: "', 'Describe this image: "'),
]
_VERBS = ("Describe", "Express", "Summarize", "Capture", "Convey", "Depict", "Characterize", "Label")
_LINKS = (
    " regarding {}",
    " in terms of {}",
    " with respect to {}",
    " with regard to {}",
    " based on {}",
    ", considering {}",
)

# Texts that state one attribute, in place of an image.
_STATEMENTS = {
    "car model": ["{}", "a {}", "an image of a {}", "a photo of a {}", "the car is a {}", "this is a {}"],
    "car color": ["{}", "a {} car", "an image of a {} car", "a photo of a {} car", "the car is {}", "{} paint"],
    "background color": [
        "{}",
        "a car in front of a {} background",
        "a car on a {} background",
        "a {} background",
        "the background is {}",
        "an image with a {} background",
    ],
    "viewpoint": [
        "{}",
        "{} view",
        "a car seen from {}",
        "a car, {} view",
        "the view is {}",
        "an image of a car from {}",
    ],
    "paint pattern": ["{}", "a {} car", "a car with a {} pattern", "an image of a {} car", "the car is {}", "{} paint"],
}


def question(rng: np.random.Generator, aspect: str | None) -> str:
    """The text of a prompt about an aspect (None: without a condition): half of the time one of the paper's."""
    if rng.random() < 0.5:
        conditioned, plain = PAPER_PROMPTS[rng.integers(len(PAPER_PROMPTS))]
    else:
        plain = f'{_pick(rng, _VERBS)} this image in one word: "'
        conditioned = plain.replace(": ", _pick(rng, _LINKS) + ": ")
    return plain if aspect is None else conditioned.format(_pick(rng, PARAPHRASES[aspect]))


def statement(rng: np.random.Generator, aspect: str, words: dict[str, str]) -> str:
    """A text in place of an image that tells an aspect's word, alone or among others."""
    if rng.random() < 0.5:
        word = _from(words[aspect]) if aspect == "viewpoint" and rng.random() < 0.3 else words[aspect]
        text = _pick(rng, _STATEMENTS[aspect]).format(word)
    else:
        text = caption(rng, words, {aspect} | {other for other in ASPECTS if rng.random() < 0.5})
    text = text[0].upper() + text[1:] if rng.random() < 0.5 else text
    return text + _pick(rng, (". ", ".\n", "\n", " ", ": "))


def caption(rng: np.random.Generator, words: dict[str, str], mentioned: set[str]) -> str:
    """A short text naming the mentioned aspects of a car."""
    pattern = f"{words['paint pattern']} " if "paint pattern" in mentioned else ""
    color = f"{words['car color']} " if "car color" in mentioned else ""
    text = f"a {pattern}{color}{words['car model'] if 'car model' in mentioned else 'car'}"
    text = _pick(rng, ("", "a photo of ", "an image of ")) + text
    if "background color" in mentioned:
        text += _pick(rng, (" on a {} background", " in front of a {} background", ", {} background")).format(
            words["background color"]
        )
    if "viewpoint" in mentioned:
        view = words["viewpoint"]
        text += _pick(rng, (f", {view} view", f" seen from {_from(view)}", f", seen from {_from(view)}"))
    return text


def _from(view: str) -> str:
    return view if view == "above" else f"the {view}"


def _pick(rng: np.random.Generator, choices: list[str] | tuple[str, ...]) -> str:
    return choices[rng.integers(len(choices))]
