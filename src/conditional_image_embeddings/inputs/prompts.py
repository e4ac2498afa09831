"""The wording of all that a model is asked or told: every prompt and template of this package, and nothing else.

Whoever changes a word here changes vectors: the settings of stored ones name the prompt type, not the words.
"""

# The seven prompt types are the paper's (WACV 2026, table of prompt templates): with a condition and without.
PROMPTS: dict[str, tuple[str, str]] = {
    "describe": ('Describe this image in one word regarding {c}: "', 'Describe this image in one word: "'),
    "express": ('Express this image in one word in terms of {c}: "', 'Express this image in one word: "'),
    "summarize": ('Summarize this image in one word regarding {c}: "', 'Summarize this image in one word: "'),
    "capture": ('Capture this image in one word based on {c}: "', 'Capture this image in one word: "'),
    "convey": ('Convey this image in one word with respect to {c}: "', 'Convey this image in one word: "'),
    "depict": ('Depict this image in one word, considering {c}: "', 'Depict this image in one word: "'),
    "describe_unconstraint": ('Describe this image regarding {c}: "', 'Describe this image: "'),
}

# Before such a prompt where a text stands in for the image. Chosen by retrieval with the bundled model among eleven
# (docs/methods.md): it tells a model that knows language what "this image" is, and which aspect of it the text names.
ABOUT = "An image with {c}: {t}. "
WITHOUT_CONDITION = "An image of {t}. "

# For dual encoders, around a user's word of a condition that `aspect_texts.toml` has no template for.
GENERIC_TEMPLATE = "a photo of {}"

# Asked of a sample of images to learn in which aspects such images differ; answers that are lists of names count.
OPEN_QUESTIONS = (
    "Name up to ten aspects in which images like this one differ. Answer with short names only, separated by commas.",
    "Which visual properties does this image have? Answer with their names, not their values, separated by commas.",
    "By which criteria could images like this one be sorted? Answer with short names only, separated by commas.",
)
