"""Rows of figures written down: as a table, JSON, CSV and LaTeX of known answer, and by the command."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from conditional_image_embeddings import datasets
from conditional_image_embeddings.cli import main
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.datasets.synthetic_cars import make
from conditional_image_embeddings.errors import EvaluationError
from conditional_image_embeddings.evaluation import csv_table, format_table, json_rows, latex_table, write
from conditional_image_embeddings.methods.settings import Setting


def test_the_table_shows_percentages_by_setting_and_aspect() -> None:
    row = {"method": "dior", "model": "m", "dataset": "synthetic_cars", "metric": "cosine", "ami": 0.0, "nmi": 0.0}
    rows = [
        {
            **row,
            "setting": "s1",
            "condition": "car color",
            "aspect": "car model",
            "map_at_r": 0.051,
            "precision_at_1": 0.5,
        },
        {
            **row,
            "setting": "s1",
            "condition": "car color",
            "aspect": "car color",
            "map_at_r": 1.0,
            "precision_at_1": 1.0,
        },
        {**row, "setting": "s2", "condition": None, "aspect": "car color", "map_at_r": 0.2549, "precision_at_1": 0.6},
    ]
    title, heading, first, second = format_table(rows).splitlines()
    assert title == "synthetic_cars: MAP@R / Precision@1 in %, cosine distance"
    assert heading.split("  ")[:3] == ["method", "model", "condition"]
    assert first.split() == ["dior", "m", "car", "color", "5.1", "/", "50.0", "100.0", "/", "100.0"]
    assert second.split() == ["dior", "m", "(none)", "25.5", "/", "60.0"]
    assert len(first) == len(heading)


def test_settings_that_differ_in_more_than_the_condition_are_told_apart() -> None:
    row = {"method": "dior", "model": "m", "dataset": "d", "metric": "cosine", "condition": None, "aspect": "a"}
    rows = [{**row, "setting": f"d-m-layer_{layer}", "map_at_r": 0.5, "precision_at_1": 0.5} for layer in (1, 2)]
    assert "d-m-layer_1" in format_table(rows)
    assert "d-m-layer_2" in format_table(rows)


def test_behind_the_model_stands_only_what_differs() -> None:
    layers = [row("a", None, 0.5, layer=layer, token=-1) for layer in (1, 2)]
    reading = row("a", None, 0.5, layer=2, token=-1, extra={"image_reading": "reference"})
    lines = format_table([*layers, reading, row("a", None, 0.5, model="other", layer=2)]).splitlines()[2:]
    assert [re.split(r"\s{2,}", line)[1] for line in lines] == [
        "m, layer = 1", "m, layer = 2", "m, layer = 2, image_reading = reference", "other"
    ]  # fmt: skip


def test_a_model_s_lines_stand_together_and_clustering_has_a_table() -> None:
    figures = {"ami": 0.25, "nmi": 0.5}
    rows = [
        {**row("a", condition, 0.5), "setting": setting, "method": method, **figures}
        for setting, method, condition in (("1", "dior", "a"), ("2", "clip", None), ("3", "dior", None))
    ]
    table = format_table(rows, clustering=True)
    first, second = table.split("\n\n")
    assert [line.split()[0] for line in first.splitlines()[2:]] == ["dior", "dior", "clip"]
    assert second.splitlines()[0] == "cub200: AMI / NMI in %, k-means by cosine distance"
    assert second.splitlines()[2].endswith("25.0 / 50.0")
    assert format_table(rows) == first
    assert format_table([{**each, "ami": None} for each in rows], clustering=True) == first


def row(
    aspect: str, condition: str | None, map_at_r: float, *, metric: str = "cosine", model: str = "m", **fields: Any
) -> dict[str, Any]:
    """A row of `evaluate`, shorter."""
    shared = {"dataset": "cub200", "method": "dior", "model": model, **fields}
    setting = Setting(**shared, condition=condition)
    return {
        "method": setting.method,
        "model": model,
        "setting": setting.name,
        "dataset": setting.dataset,
        "condition": condition,
        "aspect": aspect,
        "map_at_r": map_at_r,
        "precision_at_1": 0.5,
        "ami": None,
        "metric": metric,
        "intervals": {},
        "whole_setting": vars(setting),
        "versions": {"torch": "2"},
    }


def body(table: str) -> list[str]:
    """What stands between the headings and the end."""
    return table[table.index("\\midrule") :].splitlines()[1:-2]


def test_intervals_stand_behind_their_figures() -> None:
    ends = {"map_at_r": {"low": 0.2, "high": 0.333}, "precision_at_1": {"low": 0.0, "high": 1.0}}
    table = format_table([{**row("bird species", None, 0.25), "intervals": ends}])
    assert table.splitlines()[-1].endswith("25.0 [20.0, 33.3] / 50.0 [0.0, 100.0]")


def test_json_has_all_and_csv_has_a_column_for_all() -> None:
    rows = [
        {**row("bird species", None, 0.25), "intervals": {"map_at_r": {"low": 0.2, "high": 0.3}}},
        row("bird species", 'a "b", c', 1 / 3, extra={"texts": ["x", "y"], "more": {"k": 1}}, layer=-2),
    ]
    assert json.loads(json_rows(rows)) == rows
    first, second = csv.DictReader(io.StringIO(csv_table(rows)))
    assert first["condition"] == first["ami"] == first["whole_setting.extra.more.k"] == ""
    assert (first["intervals.map_at_r.low"], first["intervals.map_at_r.high"]) == ("0.2", "0.3")
    assert float(second["map_at_r"]) == 1 / 3
    assert (second["condition"], second["whole_setting.layer"]) == ('a "b", c', "-2")
    assert (second["whole_setting.extra.texts"], second["whole_setting.extra.more.k"]) == ('["x", "y"]', "1")
    assert second["versions.torch"] == "2"


def test_latex_is_the_papers_table() -> None:
    rows = [
        row("car model", "car model", 0.51249, dataset="synthetic_cars"),
        row("car color", "car color", 0.6, dataset="synthetic_cars"),
        row("bird species", "bird species", 0.7),
        row("car model", None, 0.51251, dataset="synthetic_cars", method="clip", model="a/b_c"),
        row("bird species", None, 0.1, method="clip", model="a/b_c"),
    ]
    expected = r"""
% cosine distance; MAP@R and Precision@1 in percent; needs \usepackage{booktabs}
\begin{tabular}{llrrrrrr}
\toprule
 &  & \multicolumn{4}{c}{synthetic\_cars} & \multicolumn{2}{c}{cub200} \\
\cmidrule(lr){3-6} \cmidrule(lr){7-8}
 &  & \multicolumn{2}{c}{car model} & \multicolumn{2}{c}{car color} & \multicolumn{2}{c}{bird species} \\
\cmidrule(lr){3-4} \cmidrule(lr){5-6} \cmidrule(lr){7-8}
Method & Model & MAP@R & Prec@1 & MAP@R & Prec@1 & MAP@R & Prec@1 \\
\midrule
DIOR & m & 51.2 & \textbf{50.0} & \textbf{60.0} & \textbf{50.0} & \textbf{70.0} & \textbf{50.0} \\
CLIP & a/b\_c & \textbf{51.3} & \textbf{50.0} & -- & -- & 10.0 & \textbf{50.0} \\
\bottomrule
\end{tabular}"""
    assert latex_table(rows) == expected.lstrip()


def test_a_line_is_of_one_layer_and_says_which() -> None:
    rows = [row(aspect, aspect, 0.5, layer=layer) for layer in (-1, -2) for aspect in ("a", "b")]
    shown = r"\textbf{50.0} & \textbf{50.0}"
    lines = [f"DIOR, layer = {layer} & m & {shown} & {shown} \\\\" for layer in (-1, -2)]
    assert body(latex_table(rows)) == lines


def test_what_follows_from_the_condition_does_not_part_a_line() -> None:
    rows = [row(aspect, aspect, 0.5, extra={"texts": f"of {aspect}", "components": 128}) for aspect in ("a", "b")]
    assert len(body(latex_table(rows))) == 1
    rows += [row(aspect, aspect, 0.5, extra={"texts": f"of {aspect}", "components": 64}) for aspect in ("a", "b")]
    heads = [line.split(" & ")[0] for line in body(latex_table(rows))]
    assert heads == ["DIOR, extra.components = 128", "DIOR, extra.components = 64"]


def test_crossed_and_unconditioned_settings_have_lines_of_their_own() -> None:
    rows = [row(aspect, condition, 0.5) for condition in ("a", "b", None) for aspect in ("a", "b")]
    heads = [line.split(" & ")[0] for line in body(latex_table(rows))]
    assert heads == ["DIOR (a)", "DIOR (b)", "DIOR (no condition)"]


def test_labels_that_belong_to_no_condition_are_a_plain_line() -> None:
    (line,) = body(latex_table([{**row("none", None, 0.5), "aspect_condition": None}]))
    assert line.startswith("DIOR & m &")


def test_rows_that_say_little_lose_nothing() -> None:
    few = ("method", "model", "setting", "dataset", "condition", "aspect", "map_at_r", "precision_at_1", "metric")
    rows = [row("a", "a", 0.1 * layer, layer=layer) for layer in (1, 2)]
    shown = body(latex_table([{key: each[key] for key in few} for each in rows]))
    assert [line.split(" & ")[2] for line in shown] == ["10.0", r"\textbf{20.0}"]


def test_latex_has_a_table_for_each_distance_and_escapes_text() -> None:
    rows = [row("100% & more", "x_{1}~^\\#$<|>", 0.5, metric=metric) for metric in ("cosine", "euclidean")]
    table = latex_table(rows)
    assert table.count(r"\begin{tabular}") == table.count(r"\end{tabular}") == 2
    assert table.count("% cosine distance") == table.count("% euclidean distance") == 1
    assert r"{100\% \& more}" in table
    escaped = r"x\_\{1\}\textasciitilde{}\textasciicircum{}\textbackslash{}\#\$"
    assert escaped + r"\textless{}\textbar{}\textgreater{}" in table
    assert latex_table([]) == ""


def test_a_file_is_what_its_suffix_says_and_has_the_rows(tmp_path: Path) -> None:
    rows = [row("a", "a", 0.5), row("a", None, 0.25)]
    for name in ("scores.json", "scores.CSV", "scores.tex"):
        write(rows, tmp_path / name)
    assert json.loads((tmp_path / "scores.json").read_text()) == rows
    assert len(list(csv.DictReader(io.StringIO((tmp_path / "scores.CSV").read_text())))) == 2
    latex = (tmp_path / "scores.tex").read_text()
    assert latex.startswith(latex_table(rows))
    assert [json.loads(line[2:]) for line in latex.splitlines() if line.startswith("% {")] == rows
    with pytest.raises(
        EvaluationError, match=r"scores\.xls: the name of a file of results ends in \.json, \.csv, \.tex"
    ):
        write(rows, tmp_path / "scores.xls")
    with pytest.raises(EvaluationError, match="there is no directory"):
        write(rows, tmp_path / "missing" / "scores.csv")


PROMISED = [
    "method",
    "model",
    "setting",
    "dataset",
    "condition",
    "aspect",
    "map_at_r",
    "precision_at_1",
    "ami",
    "nmi",
    "metric",
]


def test_the_command_prints_and_writes_in_every_format(tmp_path: Path) -> None:
    make(tmp_path / "datasets" / "synthetic_cars", images=20)
    cars = datasets.get("synthetic_cars", tmp_path / "datasets")
    store = Store(tmp_path / "embeddings")
    vectors = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    store.add_vectors(Setting(dataset=cars.name, method="dior", model="m"), list(cars.images), vectors)

    def run(*options: str) -> str:
        database = ["evaluate", str(tmp_path / "embeddings"), "--datasets-dir", str(tmp_path / "datasets")]
        done = CliRunner().invoke(main, [*database, *options], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    files = [tmp_path / f"scores{suffix}" for suffix in (".json", ".csv", ".tex")]
    written = [option for file in files for option in ("-o", str(file))]
    rows = json.loads(run("--json", "--no-clustering", "--bootstrap", "20", *written))
    assert len(rows) == len(cars.aspects)
    assert list(rows[0])[: len(PROMISED)] == PROMISED
    assert rows[0]["ami"] is None
    assert json.loads(files[0].read_text()) == rows
    assert next(csv.DictReader(io.StringIO(files[1].read_text())))["whole_setting.dtype"] == "float32"
    assert files[2].read_text().startswith(latex_table(rows))
    assert run("--format", "json", "--no-clustering", "--bootstrap", "20") == json_rows(rows) + "\n"
    assert run("--format", "csv", "--no-clustering", "--bootstrap", "20") == csv_table(rows) + "\n"
    assert run("--format", "latex", "--no-clustering", "--bootstrap", "20") == files[2].read_text()
    assert run("--no-clustering", "--bootstrap", "20") == format_table(rows) + "\n"


def test_a_file_that_cannot_be_is_said_before_the_scores(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["evaluate", str(tmp_path / "none"), "-o", str(tmp_path / "scores.docx")])
    assert done.exit_code == 1
    assert "ends in .json, .csv, .tex" in done.output


def test_labels_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shades = {"a/0.png": 0, "a/1.png": 10, "b/2.png": 200, "b/3.png": 210}
    for name, shade in shades.items():
        Path("photos", name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (shade, shade, shade)).save(Path("photos", name))
    lines = (f"{name},{name[0]},{name[2] in '03'}\n" for name in shades)
    Path("labels.csv").write_text("".join(["image_id,letter,size\n", *lines]))

    def cie(*arguments: str) -> Any:
        return CliRunner().invoke(main, arguments)

    def precisions(*arguments: str) -> dict[str, float]:
        done = cie("evaluate", "--no-clustering", "--metric", "euclidean", "--json", *arguments)
        assert done.exit_code == 0, done.stderr
        return {row["aspect"]: row["precision_at_1"] for row in json.loads(done.stdout)}

    def refused(*arguments: str, status: int = 1) -> str:
        done = cie("evaluate", *arguments)
        assert done.exit_code == status
        return str(done.stderr)

    assert cie("embed", "photos", "-m", "pixels").exit_code == 0
    assert precisions("--labels", "labels.csv") == {"letter": 1.0, "size": 0.0}
    assert precisions("--folders", "letter") == {"letter": 1.0}
    assert "choose one" in refused("--labels", "x", "--folders", "y", status=2)
    assert "--folders" in refused()  # it says how to give labels
    Path("photos/a/broken.png").write_bytes(b"no picture")
    assert cie("embed", "photos", "-m", "pixels").exit_code == 3
    lacking = refused("--folders", "letter")
    assert "1 of 5 images have no vector: a/broken.png; 1 of them could not be embedded" in lacking
    assert "--allow-missing" in lacking
    assert "a/broken.png" in refused("--labels", "labels.csv")  # it has no label either
    assert precisions("--folders", "letter", "--allow-missing") == {"letter": 1.0}
    assert precisions("--labels", "labels.csv", "--allow-missing") == {"letter": 1.0, "size": 0.0}
    Path("other").mkdir()
    Image.new("RGB", (8, 8)).save("other/x.png")
    assert cie("embed", "other", "-m", "pixels").exit_code == 0
    assert "are of 2" in refused("--labels", "labels.csv")
