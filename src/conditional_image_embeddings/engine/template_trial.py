"""A chat template rendered as transformers does, within limits of time and memory.

A program of its own, run by `template_bounds`: only an operating system stops whatever a template can think of.
"""

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

OUT_OF_MEMORY = 3  # exit status


def main() -> None:
    """Read a job from standard input (see `template_bounds`); print how long the longest prompt is."""
    job = json.load(sys.stdin)
    sys.path[:] = job["path"]
    import jinja2
    import jinja2.ext
    import jinja2.sandbox

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def tojson(value: Any, **options: Any) -> str:
        return json.dumps(value, **{"ensure_ascii": False, **options})

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    _limit(job["seconds"], job["bytes"])
    longest = 0
    try:
        template = environment.from_string(re.sub(r"\{%[-+]?\s*(end)?generation\s*[-+]?%\}", "", job["template"]))
        for chat in job["chats"]:
            try:
                longest = max(longest, len(template.render(**chat, **job["variables"])))
            except MemoryError:
                raise
            except Exception:  # noqa: BLE001, S112 - as soon over where it is rendered in earnest, which says so
                continue
    except MemoryError:
        sys.exit(OUT_OF_MEMORY)
    except Exception:  # noqa: BLE001, S110 - no template: likewise
        pass
    json.dump({"longest": longest}, sys.stdout)


def _limit(seconds: int, size: int) -> None:
    """Let this process use so many seconds of a processor and so many bytes more, where the system can see to it."""
    try:
        import resource
    except ImportError:  # Windows
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    limits = {
        resource.RLIMIT_CPU: math.ceil(used.ru_utime + used.ru_stime) + seconds,
        resource.RLIMIT_AS: _address_space(resource.getpagesize()) + size,
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in limits.items():
        try:
            resource.setrlimit(kind, (most, most))
        except (ValueError, OSError):  # a lower limit is set, or macOS, which knows none for memory
            continue


def _address_space(page: int) -> int:
    """Bytes that this process has mapped so far, which may be hundreds of MiB of locales; 0 where it cannot be told."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * page
    except (OSError, ValueError):
        return 0


if __name__ == "__main__":
    main()
