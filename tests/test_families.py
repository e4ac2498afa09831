"""The record of families: the page is what the data gives, and every row says what a reader needs."""

from pathlib import Path

from click.testing import CliRunner

from conditional_image_embeddings.cli.models import models
from conditional_image_embeddings.models.families import FAMILIES, page

ROOT = Path(__file__).parent.parent


def test_the_page_is_what_the_data_gives() -> None:
    written = (ROOT / "docs/families.md").read_text(encoding="utf-8")
    assert written == page(), "cie models --markdown > docs/families.md"
    assert CliRunner().invoke(models, ["--markdown"]).output == written


def test_rows_are_whole() -> None:
    assert len({family.key for family in FAMILIES}) == len({family.title for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert family.sharing in {"packed", "cached", "separate"}
        assert bool(family.why) == (family.sharing != "packed")
        assert 0 <= family.difference < 1e-4
