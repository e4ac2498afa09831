"""Jobs of the tiny embedder, as several test files run them."""

from pathlib import Path

from color_embedder import ColorEmbedder

from conditional_image_embeddings.collection.job.embedding_job import JobReport, run_job
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.inputs.sources import find
from conditional_image_embeddings.methods.request import Request

COLOR = Request(conditions=("color",))


def run(store: Store, folder: Path | str, request: Request = COLOR, embedder: ColorEmbedder | None = None) -> JobReport:
    (source,) = find([folder])
    return run_job(store, source, embedder or ColorEmbedder(), request)


def counts(report: JobReport) -> list[tuple[int, int, int]]:
    return [(each.embedded, each.already_there, each.failed) for each in report.settings]
