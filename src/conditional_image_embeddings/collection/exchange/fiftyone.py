"""A FiftyOneDataset (`samples.json`, `metadata.json`, `brain/`): one sample per image.

A sample has a vector and words per condition; each condition has a similarity index over its field of vectors. The
files are those that FiftyOne itself exports; neither it nor its database is needed to write them.
"""

import base64
import zlib
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import OptionError
from ...methods.settings import Setting
from .json_rows import dump
from .provenance import Provenance
from .selection import JoinedBlock, Selection

VERSION = "1.0.0"  # of the format: later versions of FiftyOne migrate it
FIELDS = "fiftyone.core.fields"
INDEX = "fiftyone.brain.internal.core.sklearn.SklearnSimilarity"
DATE = {"$date": "1970-01-01T00:00:00Z"}  # set anew when it is loaded


def write(selection: Selection, place: Path) -> Sequence[str]:
    labels = selection.labels
    names = {label: "vector" if len(labels) == 1 else f"vector_{label}" for label in labels}
    words = {label: "words" if len(labels) == 1 else f"words_{label}" for label in labels}
    keys = {label: f"similar_{label}"[:64] for label in labels}
    metadata = _metadata(selection, names, words, keys, f"{selection.settings[0].dataset} {place.stem}")
    (place / "metadata.json").write_text(dump(metadata), encoding="utf-8")
    (place / "brain").mkdir()
    for key in keys.values():
        (place / "brain" / f"{key}.json").write_text(dump({"cls": f"{INDEX}Index"}), encoding="utf-8")
    with (place / "samples.json").open("w", encoding="utf-8") as file:
        file.write('{"samples": [')
        separator = "\n"
        for block in selection.joined():
            for index in range(len(block.image_ids)):
                file.write(separator + dump(_sample(block, index, names, words)))
                separator = ",\n"
        file.write("\n]}\n")
    key = next(iter(keys.values()))
    return [
        "open it with: fiftyone.Dataset.from_dir(FOLDER, dataset_type=fiftyone.types.FiftyOneDataset)",
        f"then: dataset.sort_by_similarity(sample.id, brain_key={key!r})",
    ]


def _sample(block: JoinedBlock, index: int, names: Mapping[str, str], words: Mapping[str, str]) -> dict[str, Any]:
    image_id, image = block.image_ids[index], block.images[index]
    if not image.get("path"):
        raise OptionError(f"{image_id} is no file of its own, which FiftyOne needs: leave it out with --where")
    sample: dict[str, Any] = {
        "_id": _object_id(image_id),
        "filepath": image["path"],
        "tags": [],
        "_media_type": "image",
        "_rand": int.from_bytes(blake2b(image_id.encode(), digest_size=4).digest(), "little") / 2**32,
        "image_id": image_id,
        "metadata": {
            "_cls": "ImageMetadata", "size_bytes": image.get("size"), "mime_type": None,
            "width": image.get("width"), "height": image.get("height"), "num_channels": None,
        },
    }  # fmt: skip
    for label, name in names.items():
        if block.there[label][index]:
            sample[name] = _binary(block.vectors[label][index])
        if told := block.words[label][index]:
            sample[words[label]] = {
                "_cls": "Classification", "_id": _object_id(f"{label} {image_id}"), "tags": [], "label": told[0][0],
                "confidence": told[0][1], "words": [word for word, _ in told],
                "probabilities": [probability for _, probability in told],
            }  # fmt: skip
    return sample


def _metadata(
    selection: Selection, names: Mapping[str, str], words: Mapping[str, str], keys: Mapping[str, str], name: str
) -> dict[str, Any]:
    made = [Provenance.of(selection.store, setting).to_dict() for setting in selection.settings]
    info = {names[label]: each for label, each in zip(names, made, strict=True)}
    fields = [
        _field("id", "ObjectIdField", stored="_id"),
        _field("filepath", "StringField"),
        _field("tags", "ListField", subfield="StringField"),
        _field("image_id", "StringField"),
        _field("metadata", "EmbeddedDocumentField", document="fiftyone.core.metadata.ImageMetadata", fields=[
            _field("size_bytes", "IntField"), _field("mime_type", "StringField"), _field("width", "IntField"),
            _field("height", "IntField"), _field("num_channels", "IntField"),
        ]),
    ]  # fmt: skip
    for label, setting in zip(names, selection.settings, strict=True):
        fields.append(_field(names[label], "VectorField", description=_said(setting)))
        fields.append(
            _field(words[label], "EmbeddedDocumentField", document="fiftyone.core.labels.Classification", fields=[
                _field("id", "ObjectIdField", stored="_id"), _field("tags", "ListField", subfield="StringField"),
                _field("label", "StringField"), _field("confidence", "FloatField"), _field("logits", "VectorField"),
                _field("words", "ListField", subfield="StringField"),
                _field("probabilities", "ListField", subfield="FloatField"),
            ])
        )  # fmt: skip
    runs = {key: _run(key, names[label]) for label, key in keys.items()}
    return {
        "_id": _object_id(name), "name": name, "version": VERSION, "media_type": "image", "persistent": False,
        "tags": [], "info": {"embeddings": info}, "classes": {}, "default_classes": [], "mask_targets": {},
        "default_mask_targets": {}, "skeletons": {}, "group_media_types": {},
        "created_at": DATE, "last_loaded_at": DATE,
        "app_config": {"grid_media_field": "filepath", "media_fields": ["filepath"], "modal_media_field": "filepath",
                       "plugins": {}},
        "sample_fields": fields, "frame_fields": [], "saved_views": [], "workspaces": [], "annotation_runs": {},
        "brain_methods": runs, "evaluations": {}, "runs": {},
    }  # fmt: skip


def _said(setting: Setting) -> str:
    """What an embedding is: the model's name and the condition."""
    under = "no condition" if setting.condition is None else f"the condition {setting.condition!r}"
    return f"{setting.method} on {setting.model}, under {under}"


def _field(
    name: str, kind: str, *, subfield: str | None = None, document: str | None = None, stored: str | None = None,
    fields: Sequence[dict[str, Any]] = (), description: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    return {
        "name": name, "ftype": f"{FIELDS}.{kind}", "embedded_doc_type": document,
        "subfield": subfield and f"{FIELDS}.{subfield}", "fields": list(fields), "db_field": stored or name,
        "description": description, "info": None, "read_only": False, "created_at": DATE,
    }  # fmt: skip


def _run(key: str, field: str) -> dict[str, Any]:
    # `model` stays empty: FiftyOne would look for it in its own zoo. It is in the field's description.
    config = {
        "cls": f"{INDEX}Config", "type": "similarity", "method": "sklearn", "embeddings_field": field, "model": None,
        "model_kwargs": None, "patches_field": None, "roi_field": None, "supports_prompts": False, "metric": "cosine",
    }  # fmt: skip
    return {"key": key, "version": VERSION, "timestamp": DATE, "config": config, "view_stages": [], "results": None}


def _object_id(text: str) -> dict[str, str]:
    return {"$oid": blake2b(text.encode(), digest_size=12).hexdigest()}


def _binary(vector: Any) -> dict[str, Any]:
    """As FiftyOne keeps vectors: numpy's own file format, deflated."""
    plain = BytesIO()
    np.save(plain, vector, allow_pickle=False)
    return {"$binary": {"base64": base64.b64encode(zlib.compress(plain.getvalue())).decode(), "subType": "00"}}
