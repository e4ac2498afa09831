"""The commands as a user types them: what they print, and how they end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, cie, error_of, paths, script
from PIL import Image

from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.datasets.synthetic_cars import make
from conditional_image_embeddings.methods.settings import Setting
from conditional_image_embeddings.models.families import FAMILIES

pytestmark = pytest.mark.usefixtures("checked_once")


def process(*arguments: object, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """A Python of its own, where that is the point; most tests run the command in this one."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


@pytest.fixture(scope="module")
def cars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("datasets")
    make(directory / "synthetic_cars", images=40)
    return directory


@pytest.mark.parametrize("path", list(paths()))
def test_help_shows_an_example(path: tuple[str, ...]) -> None:
    """Of every command, each as a process of its own: this is also the proof that it starts."""
    shown = process("-m", "conditional_image_embeddings", *path[1:], "--help")
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr == ""
    assert f"Example:  {' '.join(path)}" in shown.stdout or "Commands:" in shown.stdout


@pytest.mark.parametrize("name", ["inference.py", "evaluate.py"])
def test_help_of_the_papers_commands(name: str) -> None:
    shown = process(ROOT / name, "--help")
    assert shown.returncode == 0, shown.stderr
    assert f"Example:  uv run python {name}" in shown.stdout


def test_images_that_fail_are_listed_and_the_rest_is_done(cars: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(3):
        Image.fromarray(np.full((40, 40, 3), 60 * index, np.uint8)).save(photos / f"{index} 'quoted' ü.png")
    (photos / "broken.jpg").write_bytes(b"not an image")
    arguments = (
        "embed",
        photos,
        "-c",
        "car color",
        "-c",
        "car model",
        "-m",
        "builtin",
        "-e",
        tmp_path / "db",
        "--json",
    )
    first = cie(*arguments)
    assert "broken.jpg" in error_of(first, 3)
    assert [(row["embedded"], row["already_there"], row["failed"]) for row in json.loads(first.stdout)] == [
        (3, 0, 1)
    ] * 2
    again = cie(*arguments)
    assert error_of(again, 3)
    assert [(row["embedded"], row["already_there"], row["failed"]) for row in json.loads(again.stdout)] == [
        (0, 3, 1)
    ] * 2


def test_a_finished_job_is_seen_without_loading_a_model(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "a.png")
    arguments = ["embed", "photos", "-c", "mood", "-m", "builtin", "-e", "db", "--device", "cpu", "--dtype", "float32"]
    assert cie(*arguments, cwd=tmp_path).returncode == 0
    code = (
        "import sys; from conditional_image_embeddings.cli import main;"
        f"main({arguments}, standalone_mode=False); sys.exit('torch' in sys.modules)"
    )
    again = process("-c", code, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "0 embedded, 1 already there" in again.stdout
    Image.new("RGB", (9, 9)).save(tmp_path / "photos" / "b.png")
    assert "1 embedded, 1 already there" in cie(*arguments, cwd=tmp_path).stdout


def test_words_for_what_was_embedded_without(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for index in range(3):
        Image.new("RGB", (8, 8), (80 * index, 0, 0)).save(tmp_path / "photos" / f"{index}.png")
    command = ["embed", "photos", "-c", "mood", "-m", "builtin", "-e", "db", "--device", "cpu", "--dtype", "float32"]
    assert "added" not in cie(*command, "--top-words", 0, cwd=tmp_path).stdout
    said = error_of(cie("words", "db", "-c", "mood", cwd=tmp_path), 1)
    assert "--top-words 5" in said
    assert "photos-builtin-describe-mood" in said
    assert said.count("\n") == 1
    Image.new("RGB", (9, 9)).save(tmp_path / "photos" / "3.png")
    (row,) = json.loads(cie(*command, "--top-words", 0, "--json", cwd=tmp_path).stdout)
    assert (row["embedded"], row["words_added"]) == (1, 0)
    (tmp_path / "photos" / "0.png").rename(tmp_path / "0.png")
    added = cie(*command, cwd=tmp_path).stdout
    assert "0 embedded, 3 already there, 0 failed, words added to 3" in added
    partly = cie("words", "db", "-c", "mood", "--json", cwd=tmp_path)
    assert [each["image_id"] for each in json.loads(partly.stdout)] == ["1.png", "2.png", "3.png"]
    assert "1 of 4 images have no words yet" in partly.stderr
    (tmp_path / "0.png").rename(tmp_path / "photos" / "0.png")
    assert "words added to 1" in cie(*command, cwd=tmp_path).stdout
    assert "added" not in cie(*command, cwd=tmp_path).stdout
    whole = cie("words", "db", "-c", "mood", "--json", cwd=tmp_path)
    assert len(json.loads(whole.stdout)) == 4
    assert whole.stderr == ""


def test_pixels_need_no_model(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    for chosen in ("-m", "--method"):
        done = cie("embed", "a.png", chosen, "pixels", "-e", f"db{chosen}", cwd=tmp_path)
        assert "1 embedded" in done.stdout, done.stderr


def test_what_is_left_out_and_what_is_taken(tmp_path: Path) -> None:
    for name in ("a.png", "raw/b.png", "@eaDir/c.png", ".hidden/d.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "photos" / name)
    for arguments, taken in (
        ((), 2),
        (("--exclude", "raw"), 1),
        (("--include-hidden",), 4),
        (("--include_hidden", "--exclude", "raw/*.png", "--exclude", "a.png"), 2),
    ):
        done = cie("embed", "photos", "-m", "pixels", "-e", f"db{len(arguments)}", "--json", *arguments, cwd=tmp_path)
        assert json.loads(done.stdout)[0]["embedded"] == taken, done.stderr
    everything = cie("embed", "photos", "-m", "pixels", "--exclude", "*", cwd=tmp_path)
    assert "--include-hidden takes" in error_of(everything, 1)
    assert error_of(cie("embed", "photos", "-m", "pixels", "--exclude", "[", cwd=tmp_path), 1).count("\n") == 1


def test_conditions_together(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for index in range(3):
        Image.new("RGB", (8, 8), (80 * index, 0, 0)).save(tmp_path / "photos" / f"{index}.png")
    command = ["embed", "photos", "-m", "builtin-clip", "--together", "-c", "car color", "--json"]
    for wrong in (("-c", "car model"), ("--method", "clay"), ("--method", "clay", "-c", "car model", "--no-condition")):
        assert "--together" in error_of(cie(*command, *wrong, cwd=tmp_path), 2)
    done = cie(*command, "--method", "clay", "-c", "car model", cwd=tmp_path)
    (row,) = json.loads(done.stdout)
    assert row["embedded"] == 3
    assert row["setting"].startswith("photos-builtin-clip-clay-car_color_car_model-")


def test_wrong_usage_ends_with_2_and_anything_else_with_1(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "a.png")
    assert "builtin" in error_of(cie("embed", "photos", "-c", "x", cwd=tmp_path), 2)  # no model
    error_of(cie("embed", "photos", "-m", "builtin", "--prompt-type", "shout", cwd=tmp_path), 2)
    for arguments, said in (
        (("embed", "photos", "-m", "builtin", "-c", ""), "condition is empty"),
        (("embed", "photos", "-m", "builtin", "-c", "x" * 10_000), "characters"),
        (("embed", "nowhere", "-m", "pixels"), "nowhere"),
        (("embed", "photos", "-m", "./no/model"), "does not exist"),
        (("embed", "photos", "-m", "builtin-clip", "-c", "mood"), "without a condition"),
        (("evaluate", "nowhere"), "nowhere"),
    ):
        shown = error_of(cie(*arguments, cwd=tmp_path), 1)
        assert said in shown
        assert shown.count("\n") == 1, shown
    assert "Traceback" in cie("--debug", "embed", "nowhere", "-m", "pixels", cwd=tmp_path).stderr


def test_the_papers_commands(cars: Path, tmp_path: Path) -> None:
    shared = ("--datasets_dir", cars, "--embedding_dir", tmp_path / "e", "--dataset_name", "synthetic_cars")
    done = script("inference.py", "--model_id", "builtin", "--use_cache", "--batch_size", 8, *shared)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("40 embedded, 0 already there, 0 failed") == 6  # five aspects, and none
    assert script("inference.py", "--model_name", "builtin-clip", *shared).returncode == 0
    scored = script("evaluate.py", "--embedding_dir", tmp_path / "e", "--setting_pattern", "synthetic_cars-builtin-d*",
        cwd=tmp_path,
    )  # fmt: skip
    assert scored.returncode == 0, scored.stderr
    assert "euclidean" in scored.stdout
    assert "car color" in scored.stdout
    assert "clip" not in scored.stdout
    every = script("inference.py", "--model_id", "builtin", "--save_all", *shared)
    assert every.stdout.count("num_layer") == 6 * 5
    answers = ("--model_id", "builtin", "--generative", "--text_encoder_id", "minilm")
    assert script("inference.py", *answers, *shared).stdout.count("40 embedded") == 6
    indirect = ("--model_id", "builtin-clip", "--indirect", "--indirect_num_components", 8)
    assert script("inference.py", *indirect, *shared).stdout.count("40 embedded") == 5
    assert "one" in error_of(script("inference.py", *answers, "--indirect", *shared), 2)
    assert "cannot use" in error_of(script("inference.py", "--model_id", "builtin", "--indirect", *shared), 1)
    told = cie("words", tmp_path / "e", "-c", "Car Color", "--setting", "*generative*", "--json")
    rows = json.loads(told.stdout)
    assert len(rows) == 40
    assert set(rows[0]) == {"image_id", "condition", "words"}
    assert len(rows[0]["words"]) == 1
    assert (
        "%" in cie("words", tmp_path / "e", "-c", "car color", "--setting", "*describe-car_color*num_layer_-1*").stdout
    )
    unknown = script("inference.py", "--model_id", "builtin", "--dataset_name", "imagenet")
    assert "synthetic_cars" in error_of(unknown, 1)


def test_the_papers_vectors_by_the_papers_command(cars: Path, tmp_path: Path) -> None:
    shared = ("--datasets_dir", cars, "--embedding_dir", tmp_path / "e", "--dataset_name", "synthetic_cars")
    wanted = {
        ("builtin",): ("flat", "bfloat16", {}),
        ("builtin", "--generative", "--text_encoder_id", "minilm"): (
            "native", "bfloat16", {"encoded_text": "chat", "text_encoder_dtype": "float32"}
        ),
        ("builtin-clip",): (None, "bfloat16", {}),
        ("builtin-clip", "--indirect", "--indirect_num_components", "8"): (None, "float32", {}),
    }  # fmt: skip
    before: list[Setting] = []
    for arguments, (positions, dtype, extra) in wanted.items():
        done = script("inference.py", "--as_reference", "--model_id", *arguments, *shared)
        assert done.returncode == 0, done.stderr
        made = [each for each in Store(tmp_path / "e").settings() if each not in before]
        before += made
        for each in made:
            assert (each.positions, each.dtype) == (positions, dtype)
            assert each.extra.items() >= {"image_reading": "reference", **extra}.items()
    done = script("inference.py", "--positions", "flat", "--dtype", "bfloat16", "--model_id", "builtin", *shared)
    assert done.returncode == 0, done.stderr
    (flat,) = (each for each in Store(tmp_path / "e").settings("*describe-car_color-num*") if each not in before)
    assert (flat.positions, flat.dtype, flat.extra.keys()) == ("flat", "bfloat16", {"chat_template"})
    for twice in (("--dtype", "float32"), ("--positions", "native")):
        both = script("inference.py", "--as_reference", *twice, "--model_id", "builtin", *shared)
        assert f"--as_reference sets {twice[0]} by itself" in error_of(both, 2)
    sampled = error_of(script("inference.py", "--gen_do_sample", "--model_id", "builtin", *shared), 1)
    assert "temperature above 0" in sampled
    assert sampled.count("\n") == 1


def test_results_as_the_papers_code_writes_them(cars: Path, tmp_path: Path) -> None:
    shared = ("--datasets_dir", cars, "--embedding_dir", "e", "--dataset_name", "synthetic_cars")
    assert script("inference.py", "--model_id", "builtin", *shared, cwd=tmp_path).returncode == 0
    evaluate = ("evaluate.py", "--embedding_dir", "e", "--setting_pattern", "*-car_color-num_layer=-1*")
    scored = script(*evaluate, "--mode", "one_setting", cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    assert "AMI / NMI" in scored.stdout
    (line, _) = (line for line in scored.stdout.splitlines() if line.startswith("dior"))
    assert line.count(" / ") == 5  # all aspects
    (file,) = (tmp_path / "results").iterdir()
    result = json.loads(file.read_text())
    (setting,) = Store(tmp_path / "e").settings("*-car_color-*")
    assert result.pop("setting_name") == file.stem == setting.name
    keys = ["model_score", "color_score", "bg_color_score", "viewpoint_score", "paint_pattern_score"]
    assert sorted(result) == sorted(keys)
    assert all(list(each) == ["map_r", "prec_1", "ami", "nmi"] for each in result.values())
    rows = json.loads(
        cie("evaluate", "e", "--metric", "euclidean", "--setting", setting.name, "--json", cwd=tmp_path).stdout
    )
    assert result["color_score"] == {
        "map_r": round(100 * rows[0]["map_at_r"], 1), "prec_1": round(100 * rows[0]["precision_at_1"], 1),
        "ami": rows[0]["ami"], "nmi": rows[0]["nmi"],
    }  # fmt: skip
    ids = list(Store(tmp_path / "e").read(setting)[0])
    Store(tmp_path / "e").forget("synthetic_cars", None, ids[:1])
    advised = error_of(script(*evaluate, cwd=tmp_path), 1)
    assert "--allow-missing" in advised
    for written in ("--allow-missing", "--allow_missing"):
        assert script(*evaluate, written, "--mode", "all", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("target", [(), ("mine",), ("/elsewhere",)])
def test_the_download_script_sees_the_callers_directory(tmp_path: Path, target: tuple[str, ...]) -> None:
    """With a `uv` that only says what it was asked and from where."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "caller").mkdir()
    (tmp_path / "bin/uv").write_text('#!/bin/sh\npwd\nfor each; do echo "$each"; done\n')
    (tmp_path / "bin/uv").chmod(0o755)
    said = subprocess.run(
        ["bash", str(ROOT / "scripts/download_datasets.sh"), *target],
        cwd=tmp_path / "caller", capture_output=True, text=True, check=True,
        env={**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
    ).stdout.splitlines()  # fmt: skip
    assert Path(said[0]).samefile(tmp_path / "caller")
    assert said[1:3] == ["run", "--project"]
    assert (tmp_path / "caller" / said[3]).samefile(ROOT)
    assert said[4:] == ["cie", "datasets", "download", "all", *(target or ("datasets",))]


def test_nothing_has_to_be_set_up_for_indirect() -> None:
    done = process("-m", "poethepoet", "indirect-setup", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "InDiReCT is part of this package: nothing has to be set up\n"


def test_a_universal_set(tmp_path: Path) -> None:
    rows = []
    for index, shade in enumerate((0, 10, 200, 210)):
        Image.new("RGB", (8, 8), (shade, shade, shade)).save(tmp_path / f"{index}.png")
        rows.append({"path": f"{index}.png", "class_id": shade // 100})
    (tmp_path / "info_files/met").mkdir(parents=True)
    (tmp_path / "info_files/met/test.json").write_text(json.dumps(rows))
    shared = ("--dataset_name", "met", "--embedding_dir", tmp_path / "e")
    assert "--dataset_info_dir" in error_of(script("inference.py", "--model_id", "builtin", *shared), 2)
    shared = (*shared, "--dataset_info_dir", tmp_path)
    done = script("inference.py", "--model_id", "builtin", *shared)
    assert done.stdout.count("4 embedded, 0 already there, 0 failed") == 1, done.stderr  # once: none is its only aspect
    scored = script("evaluate.py", "--embedding_dir", tmp_path / "e", cwd=tmp_path)  # finds the list again
    assert scored.returncode == 0, scored.stderr
    assert "none" in scored.stdout


def test_datasets(tmp_path: Path) -> None:
    assert cie("datasets", "make", "synthetic-cars", tmp_path, "--images", 3).returncode == 0
    assert len(list(tmp_path.glob("synthetic_cars/cars/*.png"))) == 3
    (row,) = (row for row in json.loads(cie("datasets", "list", "--json").stdout) if row["name"] == "synthetic_cars")
    assert row["aspects"] == ["car model", "car color", "background color", "viewpoint", "paint pattern"]


def test_models_are_the_families_that_the_tests_run() -> None:
    rows = json.loads(cie("models", "--json").stdout)
    assert [row["name"] for row in rows][:2] == ["builtin", "builtin-clip"]
    families = {row["name"] for row in rows[2:] if row["kind"] == "image-text-to-text"}
    assert families == {family.title for family in FAMILIES}
    instructed = [(row["name"], row["exact"].split()[0]) for row in rows if row["kind"] == "instructed embedder"]
    assert instructed == [("Qwen3-VL-Embedding", "tower"), ("VLM2Vec-V2", "as"), ("E5-V", "as"), ("GME", "tower")]
    assert all(set(row) == {"name", "kind", "family", "exact"} for row in rows)


def test_a_reader_that_has_enough_is_no_error() -> None:
    command = [sys.executable, "-m", "conditional_image_embeddings", "models"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == ""
