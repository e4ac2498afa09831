"""What a job did."""

from dataclasses import dataclass, field

from ...methods.settings import Setting
from .pruning import Missing


@dataclass(frozen=True, kw_only=True)
class SettingReport:
    """What a job did for one setting, in images. `failed` lack it (or its words) still: they cannot be read, or the
    model or its processor fails on them.

    `words_added` is of those already there: how many got the words that they had been stored without. `empty_answers`
    is of the generative method: of those embedded, how many the model answered with nothing.
    """

    setting: Setting
    embedded: int
    already_there: int
    failed: int
    words_added: int = 0
    empty_answers: int = 0


@dataclass(frozen=True, kw_only=True)
class JobReport:
    """What a job did: one report per setting, in the order of the request's axes, and why images failed, by id.

    `pruned`: the images that are gone and were removed before it; None where that was not asked for.
    """

    settings: list[SettingReport]
    failures: dict[str, str] = field(default_factory=dict)
    seconds: float
    pruned: Missing | None = None
