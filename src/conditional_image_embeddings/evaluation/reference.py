"""Scores in the form of the paper's reference implementation: its keys, its roundings, one JSON file per setting."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..datasets.labelled import UNIVERSAL

ASPECTS = {  # what it calls the aspects of its benchmarks; any other is called by its name
    "background color": "bg_color",
    "bird species": "species",
    "car color": "color",
    "car manufacturer": "manufacturer",
    "car model": "model",
    "car type": "type",
    "fabric type": "fabric",
    "fit type": "fit",
    "movie genre": "genre",
    "movie's production country": "country",
    "texture type": "texture",
}
OVERALL = {*UNIVERSAL, "cars196"}  # has only the class there


def results(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of `evaluate` as `{setting_name, ASPECT_score: {map_r, prec_1, ami, nmi}, ...}` for each setting.

    MAP@R and Precision@1 are percentages with one decimal, AMI and NMI fractions, or None where not computed.
    """
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        figures = {
            "map_r": round(row["map_at_r"] * 100, 1),
            "prec_1": round(row["precision_at_1"] * 100, 1),
            "ami": row["ami"],
            "nmi": row["nmi"],
        }
        of_setting = found.setdefault(row["setting"], {"setting_name": row["setting"]})
        of_setting[f"{_aspect(row)}_score"] = figures
    return list(found.values())


def write_results(rows: Sequence[Mapping[str, Any]], directory: Path) -> list[Path]:
    """Write `results` as `directory`/SETTING.json, and say where."""
    directory.mkdir(parents=True, exist_ok=True)
    files = []
    for result in results(rows):
        file = directory / f"{result['setting_name']}.json"
        file.write_text(json.dumps(result, ensure_ascii=False, indent=4), encoding="utf-8")
        files.append(file)
    return files


def _aspect(row: Mapping[str, Any]) -> str:
    name = str(row["aspect"])
    if row["dataset"] in OVERALL and name in {"car model", "none"}:
        return "overall"
    return ASPECTS.get(name) or name.replace(" ", "_")
