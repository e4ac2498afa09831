"""What a server says of itself, on stderr: lines for people, or an object of JSON per line for programs."""

import json
import logging
import sys
import time


class JsonLines(logging.Formatter):
    """`{"time", "level", "logger", "message"}`, what a record has of a request besides, and an error's traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        told = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "request", {}),
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


def configure(level: str, *, as_json: bool) -> None:
    """Have the process log to stderr.

    Args:
        level: "debug", "info", "warning" or "error".
        as_json: A JSON object per line.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("httpx2", "httpcore2", "PIL", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLogger().level))
