"""Options as JSON gives them back: what decides a vector is kept with it as values, to load the model again."""

from collections.abc import Mapping
from typing import Any

from ..errors import OptionError


def json_value(value: Any, name: str) -> Any:
    """A value as JSON gives it back: types of torch become their names, tuples lists, configurations dictionaries.

    Raises:
        OptionError: JSON cannot hold it, so that no setting can.
    """
    if isinstance(value, Mapping):
        return {str(key): json_value(each, f"{name}.{key}") for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(each, name) for each in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if type(value).__module__ == "torch" and type(value).__name__ == "dtype":
        return str(value).removeprefix("torch.")
    if callable(to_dict := getattr(value, "to_dict", None)):
        return json_value(to_dict(), name)
    raise OptionError(
        f"{name} is a {type(value).__name__}, which cannot be kept with the vectors: pass what JSON can hold "
        "(texts, numbers, lists, dictionaries), or a type of torch"
    )
