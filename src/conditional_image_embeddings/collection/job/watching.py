"""A database kept up to date: the job, run again whenever files came, changed or went.

Each round is the ordinary job, so that all that it guarantees holds here too; a round that has nothing to do costs a
look at the files. What the system tells of changes (watchfiles) only says when to look: what it does not tell, as on
network mounts, is found by the look that comes every so often.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import SourceError, StoreError
from ...inputs.formats import suffixes
from ...inputs.lookup import Lookup
from ...inputs.references import ImageSource
from ..storage.database import BusyError
from ..storage.store import Store
from .job_report import JobReport
from .pruning import Missing, missing

TICK = 0.5  # seconds between looks at the database's folder, the sources' roots and named files
QUIET = 0.3  # without a further change, and a round begins
LONGEST_UNREST = 10.0  # a round begins even so
SETTLING = 2.0  # a file that failed and changed no longer ago may still be being written
RELOOK = 600.0
PACKED = {".parquet", ".lance", ".manifest", ".tar"}  # files that are, or are of, tables and shards


@dataclass(frozen=True, kw_only=True)
class SourceRound:
    """What a round did for one source.

    Attributes:
        root: The source, or the path that it was looked for at.
        report: What the job did; None where there was none.
        missing: Stored images that it does not have now.
        unsettled: Ids of images that failed, but may be being written: they are tried again, and are no failures yet.
        problem: Why the job did not run.
        is_busy: Whether that is because another job is writing: it is tried again.
    """

    root: str
    report: JobReport | None = None
    missing: Missing = field(default_factory=Missing)
    unsettled: frozenset[str] = frozenset()
    problem: str | None = None
    is_busy: bool = False

    @property
    def pruned(self) -> int:
        """How many images that are gone were removed."""
        return 0 if self.report is None or self.report.pruned is None else len(self.report.pruned.gone)

    @property
    def failures(self) -> dict[str, str]:
        """Reason by id, of those that are no longer being written."""
        failed = {} if self.report is None else self.report.failures
        return {image_id: reason for image_id, reason in failed.items() if image_id not in self.unsettled}

    @property
    def embedded(self) -> int:
        """Images that got a vector, or words, under any setting."""
        settings = [] if self.report is None else self.report.settings
        return max((each.embedded + each.words_added for each in settings), default=0)


class Watch:
    """Runs a job over sources again and again.

    Args:
        store: The database.
        lookup: The sources.
        run: The job over one source; it calls its second argument if there is something to do.
        poll: Look every so many seconds, and do not ask the system to tell of changes: network mounts do not tell.

    Attributes:
        is_working: Whether images are being embedded or removed; otherwise it looks, or waits.
    """

    def __init__(
        self,
        store: Store,
        lookup: Lookup,
        run: Callable[[ImageSource, Callable[[], None]], JobReport],
        *,
        poll: float | None = None,
    ) -> None:
        self._store, self._lookup, self._run = store, lookup, run
        self._poll = poll
        self._database = _identity(store.directory)
        self.is_working = False

    def rounds(self) -> Iterator[list[SourceRound]]:
        """The first round, and each that brought something new; it never ends by itself.

        Raises:
            StoreError: the database was deleted, is damaged, or cannot be written.
            ModelError: the model fails on every image.
            SourceError: the system cannot tell of changes.
        """
        news = None
        while True:
            places = self._places()
            changes = self._changes()
            next(changes)  # it listens from here on, so that nothing is missed between a look and the wait for more
            while places == self._places():
                done = self._round()
                if news != (news := [(each.failures, each.missing, each.problem) for each in done]) or any(
                    each.embedded or each.pruned for each in done
                ):
                    yield done
                usual = RELOOK if self._poll is None else self._poll
                again_soon = any(each.unsettled or each.is_busy for each in done)
                self._wait(changes, places, min(SETTLING, usual) if again_soon else usual)

    def _round(self) -> list[SourceRound]:
        self._check_database()
        sources, problems = self._lookup.look()
        done = [self._one(source) for source in sources]
        return done + [SourceRound(root=path, problem=str(error)) for path, error in problems.items()]

    def _one(self, source: ImageSource) -> SourceRound:
        root = str(source.root)
        try:
            report = self._run(source, self._begin)
            self.is_working = False
            found = report.pruned or missing(self._store, source)
        except (BusyError, SourceError) as error:
            self.is_working = False
            return SourceRound(root=root, problem=str(error), is_busy=isinstance(error, BusyError))
        unsettled = frozenset(filter(_is_unsettled(source), report.failures))
        return SourceRound(root=root, report=report, missing=found, unsettled=unsettled)

    def _begin(self) -> None:
        self.is_working = True

    def _wait(self, changes: Iterator[set[str]], places: list[object], seconds: float) -> None:
        """Until something changed that may be an image, or the time is over."""
        over = time.monotonic() + seconds
        for changed in changes:
            self._check_database()
            if any(map(self._matters, changed)) or time.monotonic() >= over or places != self._places():
                return

    def _changes(self) -> Iterator[set[str]]:
        """Paths that changed; often none."""
        folders = [folder for folder in self._lookup.folders if folder.is_dir()]
        if folders and self._poll is None:
            from watchfiles import watch

            try:
                for changes in watch(
                    *folders,
                    watch_filter=None,
                    debounce=int(LONGEST_UNREST * 1000),
                    step=int(QUIET * 1000),
                    rust_timeout=int(TICK * 1000),
                    yield_on_timeout=True,
                    ignore_permission_denied=True,
                ):
                    yield {path for _, path in changes}
            except (OSError, RuntimeError) as error:  # too many folders for the system's limit
                if all(folder.is_dir() for folder in folders):
                    reason = " ".join(str(error).split())
                    raise SourceError(f"changes cannot be watched ({reason}): look every minute, --poll 60") from error
        while True:  # no folder is there, or none is to be listened to
            yield set()
            time.sleep(min(TICK, self._poll or TICK))

    def _matters(self, path: str) -> bool:
        """Whether it may be an image, or a folder; nothing that this job writes itself."""
        place = Path(path)
        if self._store.directory is not None and place.resolve().is_relative_to(self._store.directory.resolve()):
            return False
        return place.suffix.lower() in suffixes() | PACKED or not place.is_file()

    def _places(self) -> list[object]:
        """What tells that folders, or files that were named, are others now: a mount came back, a file was replaced."""
        return [*map(_identity, self._lookup.folders), *map(_content, self._lookup.files)]

    def _check_database(self) -> None:
        if self._database != _identity(self._store.directory):
            raise StoreError(
                f"{self._store.uri} was deleted or replaced while it was watched for: nothing more is written"
            )


def _identity(folder: Path | None) -> object:
    try:
        status = None if folder is None else folder.stat()
    except OSError:
        return None
    return status and (status.st_dev, status.st_ino)


def _content(file: Path) -> object:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _is_unsettled(source: ImageSource) -> Callable[[str], bool]:
    """From the id of an image that failed to whether its file changed only now, or is gone again."""

    def is_unsettled(image_id: str) -> bool:
        try:
            file = source.file_of(image_id)
            status = None if file is None else file.lstat()
        except FileNotFoundError:
            return True
        except (OSError, ValueError):
            return False
        return status is not None and abs(time.time() - max(status.st_mtime, status.st_ctime)) < SETTLING

    return is_unsettled
