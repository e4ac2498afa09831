"""The paper's tables on small copies of its benchmarks: what is planned, refused, embedded once, and written down."""

import json
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import miniatures as mini
import pytest
from click.testing import CliRunner, Result

from conditional_image_embeddings import datasets
from conditional_image_embeddings.cli import main
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.datasets.synthetic_cars import make
from conditional_image_embeddings.methods import indirect
from conditional_image_embeddings.models.checkpoint import Checkpoint

pytestmark = pytest.mark.usefixtures("checked_once")

CARS = dict.fromkeys((8055, 8056), "FIAT 500 Abarth 2012") | dict.fromkeys(
    (16184, 16185), "smart fortwo Convertible 2012"
)
FILMS = [
    {"imdbID": f"tt{k}", "Genre": "Drama" if k < 2 else "Comedy", "Country": "UK" if k % 2 else "USA"} for k in range(4)
]
CLOTHES = {f"A/img_{k}.jpg": (2 + k % 2, {k // 2, 17 + k // 2, 23 + k // 2}) for k in range(4)}
ASPECTS = {
    "synthetic_cars": ["car model", "car color", "background color"],
    "cars196": ["car model", "car manufacturer", "car type"],
    "cub200": ["bird species"],
    "movie_posters": ["movie genre", "movie's production country"],
    "deepfashion": ["clothing category", "texture type", "fabric type", "fit type"],
}  # the paper's columns
IMAGES = {"synthetic_cars": 30, "cars196": 4, "cub200": 4, "movie_posters": 4, "deepfashion": 4}
MODELS = ("-m", "builtin", "-m", "builtin-clip", "--text-encoder", "minilm")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("reproduction") / "datasets"
    make(root / "synthetic_cars", images=IMAGES["synthetic_cars"])
    mini.combined_cars(root / "cars196", cars=CARS)
    mini.birds(root / "cub200")
    mini.film_table(root / "movie_posters", FILMS)
    mini.flat_clothes(root / "deepfashion", CLOTHES)
    return root.parent


def reproduce(directory: Path, *arguments: str) -> Result:
    places = ("--datasets-dir", directory / "datasets", "-e", directory / "db", "-o", directory / "out")
    return CliRunner().invoke(main, ["reproduce", *map(str, places), *arguments])


def vectors(directory: Path) -> dict[str, list[str]]:
    store = Store(directory / "db", create=False)
    return {setting.name: store.read(setting)[0] for setting in store.settings()}


@pytest.fixture(scope="module", autouse=True)
def quick_maps() -> Iterator[None]:
    """InDiReCT's maps stop early: here it counts that they are made, not how well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indirect, "MAX_STEPS", 20)
        yield


@pytest.fixture(scope="module")
def done(directory: Path) -> list[dict[str, Any]]:
    """A dry run, and then the whole grid: its rows."""
    planned = reproduce(directory, *MODELS, "--dry-run", "--json")
    assert planned.exit_code == 0, planned.output
    assert not (directory / "db").exists()
    assert not (directory / "out").exists()
    works = json.loads(planned.stdout)
    assert {work["dataset"]: work["images"] for work in works} == IMAGES
    assert {work["already_there"] for work in works} == {0}
    assert all(work["seconds"] >= 0 for work in works)
    assert all(work["seconds"] > 0 for work in works if work["method"] in {"dior", "generative"})
    finished = reproduce(directory, *MODELS, "--json")
    assert finished.exit_code == 0, finished.output
    assert len(vectors(directory)) == sum(len(w["conditions"]) for w in works)  # InDiReCT and CLAY stand on CLIP's
    return list(json.loads(finished.stdout))


def test_every_method_has_a_score_under_every_aspect(done: list[dict[str, Any]]) -> None:
    columns = [(name, aspect) for name, aspects in ASPECTS.items() for aspect in aspects]
    ways: dict[tuple[str, bool], list[tuple[str, str]]] = {}
    for row in done:
        assert row["metric"] == "euclidean"
        assert row["images"] == IMAGES[row["dataset"]]
        assert row["condition"] in {None, row["aspect"]}
        ways.setdefault((row["method"], row["condition"] is None), []).append((row["dataset"], row["aspect"]))
    assert ways == dict.fromkeys(
        [
            *(("dior", False), ("dior", True), ("generative", False), ("generative", True)),
            *(("indirect", False), ("clay", False), ("clip", True)),
        ],
        columns,
    )


def test_the_latex_table_has_the_paper_s_columns(directory: Path, done: list[dict[str, Any]]) -> None:
    lines = (directory / "out" / "table.tex").read_text().splitlines()
    names, aspects = [line.split(" & ")[2:] for line in lines if "multicolumn" in line]
    assert [name.removesuffix(r" \\") for name in names] == [
        rf"\multicolumn{{{2 * len(each)}}}{{c}}{{{name.replace('_', chr(92) + '_')}}}" for name, each in ASPECTS.items()
    ]
    assert [aspect.removesuffix(r" \\") for aspect in aspects] == [
        rf"\multicolumn{{2}}{{c}}{{{aspect}}}" for each in ASPECTS.values() for aspect in each
    ]
    middle, bottom = lines.index(r"\midrule"), lines.index(r"\bottomrule")
    assert [line.split(" & ")[0] for line in lines[middle + 1 : bottom]] == [
        *("DIOR", "DIOR (no condition)", "Generative", "Generative (no condition)", "InDiReCT", "CLAY", "CLIP"),
    ]
    assert not any("--" in line for line in lines[middle:bottom])  # no cell is empty


def test_the_page_has_the_same_scores(directory: Path, done: list[dict[str, Any]]) -> None:
    page = (directory / "out" / "report.html").read_text()
    for row in done:
        assert f"{100 * row['map_at_r']:.1f} <small>/ {100 * row['precision_at_1']:.1f}" in page
    assert page.count('<td class="score') == 7 * 13
    assert "<script" not in page


def test_a_second_run_embeds_nothing_and_says_the_same(directory: Path, done: list[dict[str, Any]]) -> None:
    before, page = vectors(directory), (directory / "out" / "report.html").read_bytes()
    versions = {setting: len(ids) for setting, ids in before.items()}
    some = ("--methods", "dior,indirect", "--datasets", "synthetic-cars,cub200")
    works = json.loads(reproduce(directory, *MODELS, *some, "--dry-run", "--json").stdout)
    assert len(works) == 4
    assert all(work["already_there"] == work["images"] * len(work["conditions"]) for work in works)
    assert {work["seconds"] for work in works} == {0}
    again = reproduce(directory, *MODELS, "--json")
    assert json.loads(again.stdout) == done
    assert {setting: len(ids) for setting, ids in vectors(directory).items()} == versions
    assert (directory / "out" / "report.html").read_bytes() == page


@pytest.fixture
def partial(directory: Path, tmp_path: Path) -> Path:
    """Two benchmarks of five, one of them with a broken image."""
    for name in ("cub200", "movie_posters"):
        shutil.copytree(directory / "datasets" / name, tmp_path / "datasets" / name)
    (tmp_path / "datasets/cub200/CUB_200_2011/images" / mini.TEST_BIRDS[0]).write_bytes(b"no bird")
    return tmp_path


def test_missing_data_is_said_before_anything_large_is_imported(tmp_path: Path) -> None:
    """Which it was not: with the hub's models it took most of a minute."""
    script = (
        "import sys, runpy; from conditional_image_embeddings.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print(sorted({'torch', 'transformers', 'lancedb', 'huggingface_hub'} & sys.modules.keys()))"
    )
    arguments = ["reproduce", "-m", "someone/model", "--datasets-dir", str(tmp_path), "-e", str(tmp_path / "db")]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    for name in datasets.NAMES:
        assert f"missing: {name}: nothing of it is in" in done.stderr
    assert "nothing was embedded, because 5" in done.stderr
    assert done.stdout.splitlines() == ["[]"]


def test_what_is_missing_is_refused_first(partial: Path) -> None:
    refused = reproduce(partial, "-m", "builtin-clip")
    assert refused.exit_code == 1
    for name in set(datasets.NAMES) - {"cub200", "movie_posters"}:
        assert f"missing: {name}: nothing of it is in" in refused.stderr
    assert "cie datasets download cars196" in refused.stderr
    assert "nothing was embedded, because 3" in refused.stderr
    assert not (partial / "db").exists()
    skipped = reproduce(partial, "-m", "builtin-clip", "--skip-missing", "--methods", "clip", "--json")
    assert skipped.exit_code == 3
    assert "failed" in skipped.stderr  # the broken bird
    assert {row["dataset"]: row["images"] for row in json.loads(skipped.stdout)} == {"cub200": 3, "movie_posters": 4}
    page = (partial / "out" / "report.html").read_text()
    assert "deepfashion: nothing of it is in" in page
    planned = reproduce(partial, "-m", "builtin-clip", "--methods", "clip", "--dry-run")
    assert planned.exit_code == 1
    lines = [" ".join(line.split()) for line in planned.stdout.splitlines()]
    expected = "deepfashion (not on disk) clip builtin-clip 4,000 1 4,000 0 4,000 "  # and the time it would take
    assert sum(line.startswith(expected) for line in lines) == 1


def test_a_model_is_loaded_for_all_its_methods_and_no_two_at_a_time(
    partial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    alive: list[weakref.ref[Any]] = []
    whole = Checkpoint.load_model

    def watched(self: Checkpoint, *arguments: Any, **options: Any) -> Any:
        assert [each() for each in alive if each() is not None] == []
        model = whole(self, *arguments, **options)
        loaded.append(self.name)
        alive.append(weakref.ref(model))
        return model

    monkeypatch.setattr(Checkpoint, "load_model", watched)
    some = ("--datasets", "movie-posters", "--no-clustering", "--json")
    for models, wanted in (
        (("-m", "builtin", "--text-encoder", "minilm"), ["builtin"]),
        (("-m", "builtin-clip"), ["builtin-clip"]),
        (MODELS, ["builtin", "builtin-clip", "builtin"]),  # all is found to be there before anything is embedded
    ):
        done = reproduce(partial, *models, *some)
        assert done.exit_code == 0, done.output
        assert loaded == wanted
        loaded.clear()
        alive.clear()
    methods = dict.fromkeys(row["method"] for row in json.loads(done.stdout))
    assert list(methods) == ["dior", "generative", "indirect", "clay", "clip"]


def test_as_the_papers_code(partial: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[tuple[str, str]] = []
    whole = Checkpoint.load_model

    def watched(self: Checkpoint, *arguments: Any, **options: Any) -> Any:
        loads.append((self.name, str(self.dtype).removeprefix("torch.")))
        return whole(self, *arguments, **options)

    monkeypatch.setattr(Checkpoint, "load_model", watched)
    some = ("--datasets", "movie-posters", "--as-reference", "--json")
    done = reproduce(partial, *MODELS, "--methods", "dior,generative,indirect,clip", *some)
    assert done.exit_code == 0, done.output
    settings = {(row["method"], row["condition"]): row["whole_setting"] for row in json.loads(done.stdout)}
    for (method, _), setting in settings.items():
        assert setting["dtype"] == ("float32" if method == "indirect" else "bfloat16")
        assert setting["positions"] == {"dior": "flat", "generative": "native"}.get(method)
        assert setting["extra"]["image_reading"] == "reference"
        assert setting["extra"].get("encoded_text") == ("chat" if method == "generative" else None)
    assert set(loads) == {("builtin", "bfloat16"), ("builtin-clip", "bfloat16"), ("builtin-clip", "float32")}
    page, latex = ((partial / "out" / name).read_text() for name in ("report.html", "table.tex"))
    assert "reference implementation has them (--as-reference)" in page
    assert latex.startswith("% Pixels, positions and types of numbers as the paper's reference implementation")
    for said in (
        "DIOR: bfloat16, flat positions, images at most 700 pixels, read as the paper",
        "InDiReCT: float32, images at most 700 pixels, read as the paper",
        "minilm in float32, which embeds the whole chat",
    ):
        assert said in page
        assert said in latex
    again = reproduce(partial, *MODELS, "--methods", "dior,clip", *some, "--dry-run")
    assert {(work["already_there"], work["seconds"]) for work in json.loads(again.stdout)} == {(12, 0), (4, 0)}
    ours = reproduce(partial, *MODELS, "--methods", "dior,clip", "--positions", "flat", *some[:2], "--json")
    assert ours.exit_code == 0, ours.output
    positions = {row["method"]: row["whole_setting"]["positions"] for row in json.loads(ours.stdout)}
    assert positions == {"dior": "flat", "clip": None}
    assert "--as-reference" not in (partial / "out" / "report.html").read_text()
    for twice in (("--dtype", "float32"), ("--positions", "native")):
        both = reproduce(partial, *MODELS, *some, *twice)
        assert both.exit_code == 2
        assert f"--as-reference sets {twice[0]} by itself" in both.stderr


def of_one_label(root: Path) -> None:
    mini.film_table(root / "datasets" / "movie_posters", [{**film, "Country": "UK"} for film in FILMS])


@pytest.mark.parametrize(
    ("arguments", "message", "change"),
    [
        (("-m", "./no/model"), r"'./no/model' does not exist", None),
        (
            ("-m", "builtin", "--methods", "generative", "--text-encoder", "./no"),
            "generative with builtin: the text",
            None,
        ),
        (("-m", "builtin", "--methods", "clip"), "clip: none of the models named can be used with it", None),
        (("-m", "builtin-clip"), "movie's production country cannot be scored", of_one_label),
    ],
)
def test_other_things_that_are_missing(
    partial: Path, arguments: tuple[str, ...], message: str, change: Callable[[Path], None] | None
) -> None:
    if change:
        change(partial)
    refused = reproduce(partial, "--datasets", "movie-posters", *arguments)
    assert refused.exit_code == 1
    assert message in refused.stderr
    assert not (partial / "db").exists()
    assert (
        reproduce(partial, "--datasets", "movie-posters", "--skip-missing", *arguments).exit_code == 1
    )  # nothing left


def test_pixels_need_no_model_and_others_do(partial: Path) -> None:
    done = reproduce(partial, "--datasets", "movie-posters", "--methods", "pixels", "--metric", "cosine", "--json")
    assert done.exit_code == 0, done.stderr
    assert {row["metric"] for row in json.loads(done.stdout)} == {"cosine"}
    assert "builtin" in reproduce(partial).stderr
    assert reproduce(partial).exit_code == 2
    assert "unknown method" in reproduce(partial, "-m", "builtin", "--methods", "clap").stderr
    assert "known: synthetic_cars" in reproduce(partial, "-m", "builtin", "--datasets", "imagenet").stderr
