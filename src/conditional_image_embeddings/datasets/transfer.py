"""One file from a web server onto the disk: it goes on where it stopped, and is there whole or not at all.

What has come so far is in `NAME.part`; a further run, or a further attempt of this one, asks for the rest.
"""

import hashlib
import logging
import math
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DatasetError, OptionError

if TYPE_CHECKING:
    import httpx2

MAX_BYTES = 8 * 1024**3  # of one file; the largest known archive has 1.2 GB
LONGEST_WAIT = 60.0  # seconds between two attempts
LONGEST_TIMEOUT = 86_400.0  # seconds; what sockets take at most is a few hundred years
_PASSING = (408, 425, 429, 500, 502, 503, 504)  # a server that answers so may answer otherwise later

logger = logging.getLogger(__name__)


class _PassingError(Exception):
    """An attempt that failed and may succeed later."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


def fetch(
    url: str,
    target: Path,
    *,
    md5: str = "",
    max_bytes: int = MAX_BYTES,
    timeout: float = 30.0,
    attempts: int = 5,
    backoff: float = 1.0,
    show_progress_bar: bool | None = None,
) -> bool:
    """Download `url` into the file `target`, unless it is there.

    Args:
        url: An http or https address. A redirect from https to http is not followed.
        target: The file; its folder is made.
        md5: What the file's MD5 must be, in hexadecimal; without it, its size is what the server says.
        max_bytes: The largest file to accept.
        timeout: Read timeout (s): an attempt that brings no byte for so long has failed. Above 0, at most a day.
        attempts: Attempts in a row without progress before it is given up; at least 1.
        backoff: Seconds before the second of these; twice as long before each further one. A server's own wish
            (`Retry-After`) counts, up to a minute.
        show_progress_bar: None shows it on a terminal.

    Returns:
        Whether anything was downloaded.

    Raises:
        DatasetError: the server has no such file, is out of reach, sends something else, or the disk is full.
        OptionError: `timeout`, `attempts` or `backoff` is none of these numbers.
    """
    check_patience(timeout, attempts, backoff)
    import httpx2
    from filelock import FileLock, Timeout
    from tqdm.auto import tqdm

    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    disable = None if show_progress_bar is None else not show_progress_bar
    try:
        with (
            lock.acquire(timeout=0),
            httpx2.Client(timeout=timeout, follow_redirects=True, max_redirects=5) as client,
            tqdm(desc=target.name, unit="B", unit_scale=True, unit_divisor=1024, disable=disable, leave=False) as bar,
        ):
            if target.exists():
                _verify(target, md5)
                return False
            begun_earlier = part.exists()
            _complete(client, url, part, max_bytes, attempts, backoff, bar)
            if begun_earlier and md5 and _md5(part) != md5:  # begun from another file
                part.unlink()
                _complete(client, url, part, max_bytes, attempts, backoff, bar)
            try:
                _verify(part, md5)
            except DatasetError:
                part.unlink()  # going on from it would not fix it
                raise
            part.replace(target)
    except Timeout as error:
        raise DatasetError(f"{target} is being downloaded by another process: wait for it") from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise DatasetError(f"{url} cannot be downloaded: {error}") from error
    except OSError as error:
        raise DatasetError(f"{target} cannot be written: {error.strerror or error}") from error
    return True


def check_patience(timeout: float, attempts: int, backoff: float) -> None:
    """Raise an OptionError unless `fetch` takes these."""
    if not 0 < timeout <= LONGEST_TIMEOUT:
        raise OptionError(
            f"timeout is {timeout:g}: give seconds above 0 and at most {LONGEST_TIMEOUT:,.0f}, such as 30"
        )
    if attempts < 1:
        raise OptionError(f"attempts is {attempts}: give a number of at least 1, such as 5")
    if not 0 <= backoff < math.inf:
        raise OptionError(f"backoff is {backoff:g}: give seconds of at least 0, such as 1")


def _complete(
    client: "httpx2.Client", url: str, part: Path, max_bytes: int, attempts: int, backoff: float, bar: Any
) -> None:
    """Try until the file is whole, or `attempts` in a row made no progress."""
    import httpx2

    furthest, failures = _size(part), 0
    while True:
        try:
            _try(client, url, part, max_bytes, bar)
        except httpx2.UnsupportedProtocol:
            raise
        except (httpx2.TransportError, _PassingError) as error:
            reason, wished = str(error) or type(error).__name__, getattr(error, "wait", 0.0)
            failures = 0 if _size(part) > furthest else failures + 1
            furthest = max(furthest, _size(part))
            if failures >= attempts:
                kept = f"; {furthest:,} bytes are in {part}: the same command goes on from there" if furthest else ""
                raise DatasetError(f"{url} cannot be downloaded: {reason} ({attempts} attempts){kept}") from error
            wait = min(LONGEST_WAIT, max(backoff * 2.0 ** min(max(failures - 1, 0), 30), wished))
            logger.warning("%s: %s; trying again in %.1f s", part.stem, reason, wait)
            time.sleep(wait)
        else:
            return


def _try(client: "httpx2.Client", url: str, part: Path, max_bytes: int, bar: Any) -> None:
    """One request for what is missing. Returns when the file is whole."""
    have = _size(part)
    headers = {"Accept-Encoding": "identity"}  # so that lengths are those of the file
    if have:
        headers["Range"] = f"bytes={have}-"
    with client.stream("GET", url, headers=headers) as response:
        status = response.status_code
        if response.url.scheme != "https" and url.startswith("https:"):
            raise DatasetError(f"{url} leads to {response.url}, which is not encrypted: nothing is taken from there")
        if status == 416 and have:
            if _numbers(response.headers.get("Content-Range", "")) == (None, have):
                return
            part.unlink()
            raise _PassingError("the server's file is another than the one that was begun")
        if status in _PASSING:
            raise _PassingError(f"the server answered {status} {response.reason_phrase}", _seconds(response))
        if status not in (200, 206):
            raise DatasetError(f"{url} answered {status} {response.reason_phrase}: the file may have moved")
        begins, total = 0, None
        if status == 206:
            first, total = _numbers(response.headers.get("Content-Range", ""))
            if first != have:
                part.unlink(missing_ok=True)
                raise _PassingError("the server sent another part than the one asked for")
            begins = have
        elif _is_number(response.headers.get("Content-Length", "")):
            total = int(response.headers["Content-Length"])
        _room(url, part, begins, total, max_bytes)
        bar.total = total
        bar.update(begins - bar.n)
        with part.open("ab" if begins else "wb") as file:
            for chunk in response.iter_raw():
                file.write(chunk)
                bar.update(len(chunk))
                if file.tell() > max_bytes:
                    raise DatasetError(f"{url} is larger than {max_bytes:,} bytes: this is not the file expected")
    if total is not None and _size(part) != total:
        if _size(part) > total:
            part.unlink()
        raise _PassingError(f"it ended after {_size(part):,} of {total:,} bytes")


def _room(url: str, part: Path, begins: int, total: int | None, max_bytes: int) -> None:
    if total is None:
        return
    if total > max_bytes:
        raise DatasetError(f"{url} has {total:,} bytes, more than {max_bytes:,}: this is not the file expected")
    if (free := shutil.disk_usage(part.parent).free) < total - begins:
        raise DatasetError(f"{part.parent} has {free:,} bytes free, but {total - begins:,} are needed: make room")


def _numbers(content_range: str) -> tuple[int | None, int | None]:
    """First byte and total size of `bytes 5-9/10` or `bytes */10`."""
    match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", content_range.strip())
    if match is None:
        return None, None
    first, total = match.groups()
    return int(first) if first else None, None if total == "*" else int(total)


def _seconds(response: "httpx2.Response") -> float:
    wished = response.headers.get("Retry-After", "")
    return float(wished) if _is_number(wished) else 0.0


def _is_number(header: str) -> bool:
    return header.isascii() and header.isdigit() and len(header) < 20


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _verify(path: Path, md5: str) -> None:
    if md5 and (found := _md5(path)) != md5:
        raise DatasetError(f"{path} has the MD5 {found}, not {md5}: it is broken; remove it and run the command again")


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
