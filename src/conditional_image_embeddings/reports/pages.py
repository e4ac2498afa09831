"""Pages to look at: each is one HTML file that needs nothing else: no script, no request, the pictures inside."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..collection.storage.store import Store
    from ..methods.settings import Setting

LOOK = Path(__file__).parent / "look"
"""The stylesheets: `tokens.css` and `parts.css` for any page, `document.css` for those that are one file."""


@dataclass(frozen=True)
class Picture:
    """An image on a page; `url` is None where the collection keeps no picture of it."""

    image_id: str
    url: str | None


@dataclass(frozen=True)
class Cell:
    """A table's cell; `framed` where the line's condition is the column's aspect, or a method is a column's best."""

    map_at_r: float
    precision_at_1: float
    framed: bool


@dataclass(frozen=True)
class Line:
    """A table's line; `name` is None for "no condition"."""

    name: str | None
    cells: Sequence[Cell | None]


def write_page(path: Path, template: str, **values: Any) -> None:
    """Fill a template; the file is replaced whole if it is there."""
    from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, PrefixLoader, StrictUndefined

    templates = Environment(
        loader=ChoiceLoader([PackageLoader(__package__), PrefixLoader({"look": FileSystemLoader(LOOK)})]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    whole = path.with_suffix(".part")
    whole.write_text(templates.get_template(template).render(**values), encoding="utf-8")
    whole.replace(path)


def data_url(data: bytes) -> str:
    """An encoded picture as an address that holds it."""
    kind = "png" if data.startswith(b"\x89PNG") else "webp" if data[8:12] == b"WEBP" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def pictures(store: "Store", setting: "Setting", image_ids: Iterable[str]) -> dict[str, Picture]:
    """The pictures of images as the store keeps them, by image id."""
    needed = list(dict.fromkeys(image_ids))
    stored = store.thumbnails(setting.dataset, needed, source=setting.source)
    return {each: Picture(each, data_url(data) if (data := stored.get(each)) else None) for each in needed}
