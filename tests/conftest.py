"""What the test files share: no network, and one small run of the demo, since it loads every bundled model."""

import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks the network, whatever is on the machine
os.environ["OMP_NUM_THREADS"] = "1"  # two workers of two threads each would wait for one another on two cores


class Demo(NamedTuple):
    output: Path
    images: int
    rows: list[dict[str, Any]]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    from conditional_image_embeddings.reports import demo as story

    output, images = tmp_path_factory.mktemp("demo"), 120
    return Demo(output, images, story.run(output, images=images))
