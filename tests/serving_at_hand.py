"""The API of `cie serve` over embedders, served on loopback by a real server in a thread of this process."""

import base64
import io
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx2
import numpy as np
from color_embedder import ColorEmbedder
from numpy.typing import NDArray
from PIL import Image

from conditional_image_embeddings.methods.request import Embedded, Request
from conditional_image_embeddings.server.api.application import application
from conditional_image_embeddings.server.api.limits import Limits
from conditional_image_embeddings.server.api.service import Service
from conditional_image_embeddings.server.running import address_of, listen, server_of

POISON = (1, 2, 3)  # the model fails on pictures of this colour


class Colors(ColorEmbedder):
    """A fast embedder that reads text, can be slowed down, fails on poison, and can break for good."""

    model = "colors"

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds, self.broken = seconds, False
        self.batches: list[int] = []
        self.gate = threading.Event()  # closed, the model stands still
        self.gate.set()

    def forward_batch(self, batch: Sequence[Any], request: Request) -> list[Embedded]:
        self.gate.wait(60)
        time.sleep(self.seconds)
        if self.broken:
            raise RuntimeError("the device is gone")
        if any(np.allclose(image[:3] * 255, POISON) for image in batch):
            raise RuntimeError("this picture is poison")
        self.batches.append(len(batch))
        return super().forward_batch(batch, request)

    def embed_text(self, texts: Sequence[str], request: Request) -> NDArray[np.float32]:
        if self.broken or "poison" in texts:
            raise RuntimeError("this text is poison")
        images = [np.full(48, len(text), np.float32) for text in texts]
        return np.stack([self.one(image, request)[:, None, None] for image in images])

    def _for_words(self) -> dict[str, Any]:
        return {}


class Served(NamedTuple):
    """A running server."""

    address: str
    service: Service

    def client(self, **how: Any) -> httpx2.Client:
        return httpx2.Client(base_url=self.address, timeout=60, **how)


@contextmanager
def serving(
    *loaders: Callable[[], Any], wait: bool = True, threads: int | None = 2, grace: float = 5, **how: Any
) -> Iterator[Served]:
    """The API; names of `Limits` among the keywords are its bounds."""
    bounds = {name: how.pop(name) for name in list(how) if name in Limits.__dataclass_fields__}
    service = Service(loaders or (Colors,), name="colors", limits=Limits(**bounds), threads=threads)
    app = application(service, **how)
    with listen("127.0.0.1", None, 0) as listening:
        server = server_of(app, grace=grace, log_config=None)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        until(lambda: server.started)
        if wait:
            until(lambda: service.state != "loading")
        try:
            yield Served(address_of(listening), service)
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


def until(happens: Callable[[], object], seconds: float = 60) -> None:
    """Wait for something that happens soon."""
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.005)


def picture(seed: int, size: tuple[int, int] = (24, 16)) -> bytes:
    """A PNG of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return png(Image.fromarray(pixels))


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def data_uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def vectors_of(answer: httpx2.Response) -> NDArray[np.float32]:
    """float32 (vectors, d), whichever way they are encoded."""
    assert answer.status_code == 200, answer.text
    rows = [each["embedding"] for each in answer.json()["data"]]
    if rows and isinstance(rows[0], str):
        rows = [np.frombuffer(base64.b64decode(row), "<f4") for row in rows]
    return np.array(rows, np.float32)


def message(answer: httpx2.Response) -> str:
    """What an answer says was wrong: one line, never a traceback."""
    assert "Traceback" not in answer.text
    told = answer.json()["error"]
    assert set(told) == {"message", "type", "param", "code"}
    assert "\n" not in told["message"]
    return str(told["message"])
