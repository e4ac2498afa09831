"""What `/metrics` tells Prometheus, in a registry of its own, so that two servers in a process do not mix."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
IMAGES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counters of one server.

    Attributes:
        requests: By path and status.
        seconds: From a request's head to its answer's end, by path.
        under_way: Requests that are being answered.
        images: Embedded.
        texts: Embedded.
        batch_images: Images of each batch that went through a model.
        cancelled: Requests whose client left.
        waiting: Inputs in the queue.
        devices_ready: Models that answer.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("cie_requests", "Requests answered.", ("path", "status"), registry=registry)
        self.seconds = Histogram("cie_request_seconds", "Seconds.", ("path",), buckets=SECONDS, registry=registry)
        self.under_way = Gauge("cie_requests_under_way", "Requests being answered.", registry=registry)
        self.images = Counter("cie_images", "Images embedded.", registry=registry)
        self.texts = Counter("cie_texts", "Texts embedded.", registry=registry)
        self.batch_images = Histogram("cie_batch_images", "Images per batch.", buckets=IMAGES, registry=registry)
        self.cancelled = Counter("cie_requests_cancelled", "Requests whose client left.", registry=registry)
        self.waiting = Gauge("cie_queue_waiting", "Inputs that wait for a model.", registry=registry)
        self.devices_ready = Gauge("cie_devices_ready", "Models that answer.", registry=registry)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)
