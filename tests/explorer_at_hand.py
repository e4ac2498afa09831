"""The page of `cie explore` over databases, served on loopback by a real server in a thread of this process."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conditional_image_embeddings.server.explorer.application import application
from conditional_image_embeddings.server.running import address_of, listen, server_of


@contextmanager
def exploring(*databases: str | Path, **how: Any) -> Iterator[str]:
    """The address of the page."""
    app = application(databases, **how)
    with listen("127.0.0.1", None, 0) as listening:
        server = server_of(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        try:
            yield address_of(listening)
        finally:
            server.should_exit = True
            thread.join(30)
