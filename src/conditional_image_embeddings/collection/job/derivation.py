"""Vectors made from a base's stored ones, without looking at the images again: InDiReCT, CLAY."""

import time
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import StoreError
from ...methods.request import Request
from ...methods.settings import Setting
from ..storage.store import Store
from .job_report import JobReport, SettingReport

if TYPE_CHECKING:
    from ...methods.projected import Projected


def derive(store: Store, of_base: JobReport, embedder: "Projected", request: Request, started: float) -> JobReport:
    """Make each condition's vectors from the base's stored ones, all of a setting in one commit.

    A setting that has not exactly the base's images is made anew, whole: its map may depend on the collection. So is
    one of an earlier version, which did not keep its map.
    """
    (base,) = of_base.settings
    settings = embedder.settings(request, dataset=base.setting.dataset, source=base.setting.source)
    reports = []
    with store.writing(required=False) as blocked:
        there = store.ids(base.setting)
        stale = [is_stale(store, setting, there) for setting in settings]
        if any(stale) and blocked is not None:
            raise blocked
        if any(stale) and len(there):
            embedder.fit_vectors(vectors for _, vectors in store.scan(base.setting))
        for setting, each, anew in zip(settings, request.by_condition(), stale, strict=True):
            if anew:
                parts = ((ids, embedder.under(part, each)[:, 0, 0, 0, 0]) for ids, part in store.scan(base.setting))
                store.replace_vectors(setting, parts, embedder.fitted(each) if len(there) else None, there)
            done = len(there)
            reports.append(
                SettingReport(
                    setting=setting,
                    embedded=done if anew else 0,
                    already_there=0 if anew else done,
                    failed=base.failed,
                )
            )
    return JobReport(settings=reports, failures=of_base.failures, seconds=time.perf_counter() - started)


def is_stale(store: Store, setting: Setting, there: NDArray[np.int64]) -> bool:
    """Whether a setting that is a map of another's vectors has to be made anew; `there`: the images of the other."""
    same = np.array_equal(store.ids(setting), there)
    return not same or not store.is_made_of(setting, there) or lacks_fit(store, setting)


def lacks_fit(store: Store, setting: Setting) -> bool:
    """Whether what the setting's vectors were made with is lost, or was never kept: by a version that kept nothing."""
    if not store.count(setting):
        return False
    try:
        return not (store.fitted(setting) or store.information(setting))
    except StoreError:
        return True
