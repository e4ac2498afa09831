"""What one request, and all of them together, may cost the server. Each is an option of `cie serve`."""

from dataclasses import dataclass

from ...errors import OptionError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds, with defaults for a server whose clients send photographs.

    Attributes:
        max_body: Bytes of a request, and of an image that a URL names.
        max_held: Bytes of all requests that are under way; more are answered 503.
        max_inputs: Images and texts per request.
        max_pixels: Per image, as its header says: checked before it is decoded.
        max_conditions: Per request.
        max_text: Characters of a text.
        queue: Inputs that wait for the model; more are answered 503.
        timeout: Seconds that a request may take to arrive, and again to be answered.
    """

    max_body: int = 32 * 2**20
    max_held: int = 2**30
    max_inputs: int = 64
    max_pixels: int = 50_000_000
    max_conditions: int = 64
    max_text: int = 10_000
    queue: int = 256
    timeout: float = 60.0

    def __post_init__(self) -> None:
        if self.queue < self.max_inputs:
            raise OptionError(
                f"queue is {self.queue} and a request may have {self.max_inputs} inputs: none of that size would ever "
                "be taken; raise --queue or lower --max-inputs"
            )
        if self.max_held < self.max_body:
            raise OptionError("max_held is less than max_body: no request of that size would ever be taken")
