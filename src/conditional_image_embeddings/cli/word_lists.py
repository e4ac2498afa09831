"""What `cie embed --words` means: which list of words is for which condition."""

import click

from ..methods import METHODS


def word_lists(given: tuple[str, ...], conditions: tuple[str, ...], method: str | None) -> dict[str, str]:
    """Condition to its words; those that name no condition are for the only one there is.

    Raises:
        click.UsageError: the method takes no words, or it is not said what they are for.
    """
    able = [each.name for each in METHODS.values() if "words" in each.options]
    if method not in able:
        raise click.UsageError(f"--words takes --method {' or '.join(able)}: others have no use for a list of words")
    if not conditions:
        raise click.UsageError("--words takes a condition (-c): they are what varies in it")
    spelt = {condition.casefold(): condition for condition in conditions}
    lists: dict[str, str] = {}
    for each in given:
        name, separator, words = each.partition("=")
        if not separator:
            name, words = (conditions[0] if len(conditions) == 1 else ""), each
        condition = spelt.get(name.strip().casefold(), "")
        wrong = {
            "say for which condition": not name.strip(),
            f"{name.strip()[:60]!r} is none of the conditions (-c)": not condition,
            f"{condition!r} has two lists": condition in lists,
            f"{condition!r} gets no words": not words.strip(" ,"),
        }
        if said := [text for text, is_so in wrong.items() if is_so]:
            raise click.UsageError(f"--words {each[:60]!r}: {said[0]}, as in --words '{conditions[0]}=red,blue'")
        lists[condition] = words
    return lists
