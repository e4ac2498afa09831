"""One entry per method is all that a method needs: loading, jobs, commands and tables read it there."""

import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mean_color
import numpy as np
import pytest
from color_embedder import draw
from PIL import Image

import conditional_image_embeddings as cie
from conditional_image_embeddings.methods import METHODS, registry, supported_methods
from conditional_image_embeddings.models.checkpoint import Checkpoint

pytestmark = pytest.mark.usefixtures("checked_once")


@pytest.fixture
def colors() -> Iterator[None]:
    registry.register(mean_color.ENTRY)
    yield
    del METHODS["colors"]


def run(folder: Path, *arguments: str) -> str:
    program = Path(mean_color.__file__)
    done = subprocess.run(
        [sys.executable, str(program), *arguments], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.usefixtures("colors")
def test_a_registered_method_loads_with_its_own_options() -> None:
    red = Image.new("RGB", (30, 20), "red")
    assert cie.load("colors").encode(red).tolist() == [1, 0, 0]
    assert cie.load("anything", method="colors", scale=2.0).encode(red).tolist() == [2, 0, 0]
    assert supported_methods("colors") == ("colors",)
    with pytest.raises(TypeError, match=r"colors does not take positions; known here: .*scale"):
        cie.load("colors", positions="flat")
    with pytest.raises(TypeError, match=r"unknown option scala; known here: .*scale"):
        cie.load("colors", scala=1)
    with pytest.raises(ValueError, match="colors does not support layer"):
        cie.load("colors").encode(red, layer=2)
    with pytest.raises(cie.CieError, match="without a condition"):
        cie.load("colors").encode(red, "car color")


def test_a_registered_method_in_every_command(tmp_path: Path) -> None:
    for kind in ("a", "b"):
        draw(tmp_path / "photos" / kind, 4)
    told = run(tmp_path, "embed", "photos", "--method", "colors", "-e", "db")
    assert "8 embedded" in told
    assert told.startswith("photos-mean-color-colors-none-")
    table = run(tmp_path, "evaluate", "db", "--folders", "kind", "--no-clustering", "--format", "latex")
    assert "Mean colour & mean-color & " in table
    run(tmp_path, "datasets", "make", "synthetic-cars", "--images", "60")
    reproduced = run(
        tmp_path, *("reproduce", "--methods", "colors", "--datasets", "synthetic-cars", "--no-clustering", "-e", "db")
    )
    assert "mean-color" in reproduced
    assert "Mean colour" in (tmp_path / "reproduction/report.html").read_text()


def test_the_signature_of_load_is_all_that_methods_take() -> None:
    known = set(inspect.signature(cie.load).parameters)
    find = {name for name, one in inspect.signature(Checkpoint.find).parameters.items() if one.kind is one.KEYWORD_ONLY}
    of_methods = {option for method in METHODS.values() for option in (*method.options, *method.backbone_options)}
    assert known == {"model", "method", "registered", *find, *of_methods}
    for method in METHODS.values():
        assert method.implementing_class.method == method.name


@pytest.mark.parametrize("method", METHODS)
def test_options_that_are_no_options_list_those_that_are(method: str) -> None:
    with pytest.raises(TypeError, match=r"unknown option imagesize; known here: .*image_max_size.*solver"):
        cie.load("builtin", method=method, imagesize=3)
    foreign = next(
        option
        for option in ("solver", "positions", "size")
        if option not in {*METHODS[method].options, *METHODS[method].backbone_options}
    )
    value = {"solver": "svd", "positions": "flat", "size": 3}[foreign]
    with pytest.raises(TypeError, match=rf"method {method} does not take {foreign}; known here: .*image_max_size"):
        cie.load("there/is-no-such-model", method=method, **{foreign: value})  # type: ignore[arg-type]


def test_methods_stand_on_an_embedder_that_is_loaded() -> None:
    from conditional_image_embeddings.methods.clay import CLAY
    from conditional_image_embeddings.methods.clip import CLIP
    from conditional_image_embeddings.methods.indirect import InDiReCT

    clip = CLIP(Checkpoint.find("builtin-clip", device="cpu"))
    images = [Image.fromarray(np.full((20, 30, 3), shade, np.uint8)) for shade in (0, 90, 200)]
    for method, loaded in ((InDiReCT, "indirect"), (CLAY, "clay")):
        on_clip = method(clip, words=["red", "blue", "green"], components=3)
        other = cie.load("builtin-clip", method=loaded, device="cpu", words="red,blue,green", components=3)
        assert on_clip.backbone is clip
        for each in (on_clip, other):
            each.fit(images)  # type: ignore[attr-defined]
        assert np.array_equal(on_clip.encode(images, "color"), other.encode(images, "color"))
