"""What the test files share: no network, a folder and a database, and one small run of the demo with every model."""

import gc
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from browser import browser  # noqa: F401 - a fixture
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from conditional_image_embeddings.collection.storage.store import Store

os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks the network, whatever is on the machine
os.environ["OMP_NUM_THREADS"] = "1"  # two workers of two threads each would wait for one another on two cores

CACHE = tempfile.TemporaryDirectory(prefix="cie-tests-")  # removed with the interpreter
VERDICTS = tempfile.TemporaryDirectory(prefix="cie-tests-")
os.environ["XDG_CACHE_HOME"] = CACHE.name  # no test reads or writes the user's own
os.environ["CIE_SELF_CHECK"] = "1"  # and each model is checked anew, whatever another test found

# How long an example takes says something of the machine, not of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests share its fixtures on one worker; those of the engine, half of the suite, are spread by family.

    The two files about the demo share its run.
    """
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class ByFileOrFamily(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, test = nodeid.partition("::")
            family = re.search(r"\[([^]]*)", test)
            if file.endswith(("test_demo.py", "test_report.py")):
                return "demo"
            return f"{file} {family[1]}" if file.endswith("test_engine.py") and family else file

    return ByFileOrFamily(config, log)


def pytest_collection_finish() -> None:
    """What is there by now stays: no later collection of garbage looks at a million objects again."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Or C++ libraries would say at the end that they leak it."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def logging_level() -> "Iterator[None]":
    """A program sets it for its whole process; here that would be for the tests that come after."""
    root = logging.getLogger()
    level = root.level
    yield
    assert root.level == level


@pytest.fixture(scope="module")
def checked_once() -> Iterator[None]:
    """For files that take models as they are: the verdict on one is that of the first time, as for a user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CIE_SELF_CHECK", "0")
        patch.setenv("XDG_CACHE_HOME", VERDICTS.name)
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dozen pictures."""
    from color_embedder import draw

    return draw(tmp_path / "images", 12)


@pytest.fixture
def store(tmp_path: Path) -> "Store":
    """A database that is not there yet."""
    from conditional_image_embeddings.collection.storage.store import Store

    return Store(tmp_path / "db")


class Demo(NamedTuple):
    output: Path
    images: int
    rows: list[dict[str, Any]]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    from conditional_image_embeddings.reports import demo as story

    output, images = tmp_path_factory.mktemp("demo"), 120
    return Demo(output, images, story.run(output, images=images))
