"""Import: rows of a file or folder, each looked at, into settings of a database; those that are unusable are named."""

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from ...datasets import NAMES
from ...errors import ImageError, OptionError
from ...inputs.encoded import FileStat
from ...methods.settings import Setting
from ..job.job_images import JobImage, Reader
from ..storage.digests import digest
from ..storage.store import Store
from ..storage.tables import ImageRecord
from .formats import FORMATS, find
from .incoming import IMPORTED, LONGEST_ID, MOST_DIMENSIONS, Files, Incoming, Origin
from .provenance import Provenance

COMMIT_ROWS = 4096

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Imported:
    """What became of the rows of one setting."""

    setting: Setting
    imported: int = 0
    already_there: int = 0


@dataclass(kw_only=True)
class ImportReport:
    """What an import did, and why rows were left out: place and reason, a line each."""

    settings: list[Imported] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)


def import_vectors(
    store: Store,
    source: str | os.PathLike[str],
    format: str,  # noqa: A002 - the option's name
    *,
    dataset: str | None = None,
    method: str | None = None,
    model: str | None = None,
    condition: str | None = None,
    images: str | os.PathLike[str] | None = None,
    show_progress_bar: bool | None = None,
) -> ImportReport:
    """Bring in what `export` wrote, or what another tool made; memory does not grow with the number of vectors.

    What this package exported keeps its setting. Vectors of other tools get settings of their own, marked as imported:
    they are searched and scored as any, and no job ever adds to them. An image that has a vector keeps it, so that an
    import that was stopped is simply run again.

    Args:
        store: Where they go.
        source: The file or folder.
        format: One of `formats.FORMATS` that comes back.
        dataset: Of vectors that another tool made: the name to store them under.
        method: Of these: by default what the files say, or "imported".
        model: Of these: which model made them.
        condition: Of these: what they were made under.
        images: Of these: the folder of their images, or that of the benchmarks, to look ids up in. Images that are
            found are noted as a job does, with their content's hash and a thumbnail.
        show_progress_bar: On stderr; None shows it on a terminal only.

    Raises:
        OptionError: an unknown format, one that is written only, a file that is none of it, or vectors of another tool
            of which nothing says by which model they were made.
        StoreError: another job is writing to the store, or it cannot be written.
    """
    known, place = find(format), Path(source).expanduser()
    if not known.comes_back:
        both = ", ".join(each.name for each in FORMATS.values() if each.comes_back)
        raise OptionError(f"{format} is written only; {both} are read too")
    if not place.exists():
        raise OptionError(f"{place} does not exist: name the file or folder to import")
    folder = None if images is None else Path(images).expanduser()
    origin = Origin(source=place, dataset=dataset, method=method, model=model, condition=condition, images=folder)
    with store.writing():
        job = _Import(store, origin)
        disable = None if show_progress_bar is None else not show_progress_bar
        with tqdm(known.read(place, origin), desc=place.name, unit="vector", disable=disable) as rows:
            try:
                for row in rows:
                    job.add(row)
            finally:
                job.commit()  # also what came before Ctrl-C or an error
        if not job.targets and not job.report.bad:
            raise OptionError(f"{place} holds no vectors")
        store.compact([target.report.setting for target in job.targets.values()])
    return job.report


class _Target:
    """A setting that rows go to."""

    def __init__(self, store: Store, provenance: Provenance, report: Imported, files: Files | None) -> None:
        self.provenance, self.report, self.files = provenance, report, files
        self.is_foreign = IMPORTED in report.setting.extra
        there = store.count(report.setting)
        self.dimensions = next(store.scan(report.setting))[1].shape[1] if there else None
        self.seen: set[int] = set()  # digests of the ids of this import
        self.rows: list[Incoming] = []


class _Import:
    """One run of `import_vectors`."""

    def __init__(self, store: Store, origin: Origin) -> None:
        self.store, self.origin = store, origin
        self.report = ImportReport()
        self.targets: dict[str, _Target] = {}
        self._files: dict[str, Files | None] = {}
        self._pending = 0

    def add(self, row: Incoming) -> None:
        """Take a row, or note why not."""
        if row.problem is None and row.provenance is not None:
            target = self._target(row.provenance)
            row.problem = _problem(row, target)
            if row.problem is None:
                target.seen.add(digest(row.image_id))
                target.rows.append(row)
                self._pending += 1
        if row.problem is not None:
            self.report.bad.append(f"{row.place}: {row.problem}")
        if self._pending >= COMMIT_ROWS:
            self.commit()

    def commit(self) -> None:
        """Store what is pending: of each image its row of `images` before its vector, as a job does."""
        for target in self.targets.values():
            if target.rows:
                self._commit(target, target.rows)
                target.rows = []
        self._pending = 0

    def _target(self, provenance: Provenance) -> _Target:
        setting = provenance.setting
        if setting.name not in self.targets:
            if setting.dataset not in self._files:
                files = self.origin.files(setting.dataset) if IMPORTED in setting.extra else None
                self._files[setting.dataset] = files
                if files is None and IMPORTED in setting.extra and setting.dataset in NAMES and setting.source is None:
                    logger.warning(
                        "%s: to be scored, its images' ids have to be looked up: import it with --images DATASETS",
                        setting.dataset,
                    )
            report = Imported(setting=setting)
            self.report.settings.append(report)
            self.targets[setting.name] = _Target(self.store, provenance, report, self._files[setting.dataset])
        return self.targets[setting.name]

    def _commit(self, target: _Target, rows: list[Incoming]) -> None:
        setting = target.report.setting
        rows = self._with_images(target, rows)
        if not rows:
            return
        ids = [row.image_id for row in rows]
        there = set(self.store.among(setting, ids)) if target.dimensions is not None else set()
        new = [row for row in rows if row.image_id not in there]
        target.report.already_there += len(rows) - len(new)
        if new:
            vectors = np.stack([row.vector for row in new if row.vector is not None])
            made = target.provenance
            self.store.add_vectors(
                setting, [row.image_id for row in new], vectors, [row.words for row in new],
                fitted=made.fitted or None, information=made.information,
            )  # fmt: skip
            target.report.imported += len(new)

    def _with_images(self, target: _Target, rows: list[Incoming]) -> list[Incoming]:
        """Note what is known of the rows' images, and leave out those that are other pictures here."""
        setting = target.report.setting
        stored = self.store.content_hashes(setting.dataset, setting.source, [row.image_id for row in rows])
        records, kept = [], []
        for row in rows:
            content = row.image.get("content_hash")
            if row.image_id not in stored:
                try:
                    records += self._record(target, row)
                except ImageError as error:
                    self.report.bad.append(f"{row.place}: {error}")
                    continue
            elif content is not None and stored[row.image_id] not in {None, content}:
                self.report.bad.append(f"{row.place}: {row.image_id!r} is another picture in {self.store.uri}")
                continue
            kept.append(row)
        if records:
            self.store.add_images(setting.dataset, setting.source, records)
        return kept

    def _record(self, target: _Target, row: Incoming) -> list[ImageRecord]:
        """The row of `images`, if it may have one: in a source that jobs know too, only with the content's hash."""
        if target.files is not None:
            key = JobImage(row.image_id)
            Reader(700, as_reference=False, is_expected=lambda _, __: True)(key, target.files[row.image_id])
            return [] if key.record is None else [key.record]
        known: dict[str, Any] = {name: value for name, value in row.image.items() if value is not None}
        own_source = target.is_foreign and target.report.setting.source is not None and self.origin.images is None
        if "content_hash" not in known and not own_source:
            return []
        try:
            return [
                ImageRecord(
                    image_id=row.image_id,
                    width=_optional(int, known.get("width")),
                    height=_optional(int, known.get("height")),
                    content_hash=_optional(str, known.get("content_hash")),
                    place=FileStat(
                        _optional(str, known.get("path")),
                        _optional(int, known.get("size")),
                        _optional(int, known.get("modified")),
                    ),
                    thumbnail=_optional(bytes, known.get("thumbnail")),
                )
            ]
        except (TypeError, ValueError) as error:
            raise ImageError(f"what it says of the image is of a wrong kind ({error})") from error


def _optional(kind: Any, value: Any) -> Any:
    return None if value is None else kind(value)


def _problem(row: Incoming, target: _Target) -> str | None:
    """Why a row cannot be taken; the first that can be decides the setting's dimensions."""
    if row.image_id is None or not str(row.image_id).strip():
        return "has no image id"
    row.image_id = str(row.image_id)
    if len(row.image_id) > LONGEST_ID or "\0" in row.image_id:
        return "its image id is too long, or holds a null character"
    try:
        row.image_id.encode()
    except UnicodeEncodeError:
        return "its image id is no Unicode text"
    if target.files is not None:
        found, problem = target.files.find(row.image_id)
        if found is None:
            return problem
        row.image_id = found
    if digest(row.image_id) in target.seen:
        return f"{row.image_id!r} is there twice"
    if row.vector is None or row.vector.ndim != 1 or not row.vector.size:
        return "has no vector"
    if row.vector.size > MOST_DIMENSIONS:
        return f"its vector has more than {MOST_DIMENSIONS:,} dimensions"
    if not np.isfinite(row.vector).all():
        return "its vector holds NaN or infinity"
    if target.dimensions is not None and row.vector.size != target.dimensions:
        return f"its vector has {row.vector.size} dimensions, those of {target.report.setting.name} {target.dimensions}"
    target.dimensions = row.vector.size
    return None
