"""The folders of the paper's code: one for each setting, in it one JSON file per image, `{embedding, prompt, source}`.

What is exported has further keys (the image's id, the setting, the words), which that code does not read, and by which
an import is without loss. What that code wrote itself is imported as settings of their own, never mixed with others.
"""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from ...errors import OptionError, preview
from ...inputs.conditions import prompt
from ...methods.settings import Setting
from . import reference_names
from .incoming import Incoming, Origin
from .json_rows import LONGEST, Rows, as_object, dump
from .provenance import Provenance
from .selection import Selection

INDIRECT = "indirect"


def write(selection: Selection, place: Path) -> Sequence[str]:
    named: dict[str, Setting] = {}
    for setting in selection.settings:
        name = reference_names.name_of(setting)
        if name in named:
            raise OptionError(
                f"{named[name].name} and {setting.name} would be one folder of the paper's code, {name}: choose one "
                "with --setting"
            )
        named[name] = setting
    for name, setting in named.items():
        _write_setting(selection, setting, place, place / name)
    return ["score it with the paper's code: python evaluate.py --embedding_dir FOLDER"]


def _write_setting(selection: Selection, setting: Setting, place: Path, folder: Path) -> None:
    folder.mkdir()
    made = Provenance.of(selection.store, setting)
    made.write_fitted(place)  # not beside the JSON files: that code takes whatever it finds there
    there: dict[str, str] = {}
    for block in selection.blocks(setting):
        for index, image_id in enumerate(block.image_ids):
            stem = PurePosixPath(image_id).stem or "image"
            if stem in there:
                raise OptionError(
                    f"{there[stem]} and {image_id} would be one file, {stem}.json: the paper's code knows no folders "
                    "of images; choose another format, or some images with --where"
                )
            there[stem] = image_id
            told = {
                **_as_reference(setting, block.words[index]),
                **as_object(block, index, "embedding"),
                **made.to_dict(),
            }
            (folder / f"{stem}.json").write_text(f"{dump(told)}\n", encoding="utf-8")


def _as_reference(setting: Setting, words: Any) -> dict[str, Any]:
    """The keys of that code beside the vector."""
    if setting.method == "clip":
        return {"source": "clip"}
    if setting.method == INDIRECT:
        components = setting.extra.get("components", 128)
        return {
            "source": INDIRECT, "clip_model": setting.model, "num_components": components, "aspect": setting.condition,
        }  # fmt: skip
    asked = {"prompt": prompt(setting.condition, setting.prompt_type or "describe")}
    if setting.method == "generative":
        answer = words[0][0] if words else ""
        encoder = setting.extra.get("text_encoder")
        return {**asked, "generated_text": answer, "source": "generative", "text_encoder": encoder}
    return {**asked, "source": setting.embedding_source}


def read(source: Path, origin: Origin) -> Iterator[Incoming]:
    if not source.is_dir():
        raise OptionError(f"{source} is no folder: name one with the paper's folders in it, or one of these")
    folders = [source] if _has_json(source) else sorted(path for path in source.iterdir() if path.is_dir())
    folders = [folder for folder in folders if _has_json(folder)]
    if not folders:
        raise OptionError(f"{source} holds no folders of JSON files")
    unknown = [folder.name for folder in folders if reference_names.parse(folder.name) is None]
    if unknown and not (origin.model and origin.method and (origin.condition or len(folders) == 1)):
        raise OptionError(
            f"{preview(unknown, 2)}: not named as the paper's code names folders; import such a folder by itself, and "
            "say what it holds with --dataset, --method, --model and --condition"
        )
    for folder in folders:
        yield from _read_folder(folder, source, origin)


def _read_folder(folder: Path, source: Path, origin: Origin) -> Iterator[Incoming]:
    rows = Rows("reference", source if source != folder else folder.parent, origin)
    said = reference_names.parse(folder.name) or {}
    for file in sorted(folder.glob("*.json")):
        place = str(file)
        try:
            if not file.is_file() or file.stat().st_size > LONGEST:
                yield Incoming(place, problem=f"is no file of at most {LONGEST:,} bytes")
                continue
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            yield Incoming(place, problem=f"cannot be read ({error})")
            continue
        row = rows.read(text, place, partial(reference_names.refine, said))
        row.image_id = file.stem if row.image_id is None else row.image_id
        yield row


def _has_json(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.name.endswith(".json") for entry in entries)
