"""A folder that Hugging Face `datasets` opens: one row per image, its vectors and words as columns per condition."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..storage.tables import WORDS, words_column
from .provenance import Provenance
from .selection import JoinedBlock, Selection

CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/*.parquet
---
# Conditional image embeddings

One row per image. Each column of vectors was made so:

```json
{told}
```
"""
PART_BYTES = 256 << 20  # of rows per file
ROWS = 1024


def write(selection: Selection, place: Path) -> Sequence[str]:
    labels = selection.labels
    suffixes = [""] if len(labels) == 1 else [f"_{label}" for label in labels]
    made = [Provenance.of(selection.store, setting).to_dict() for setting in selection.settings]
    told = {f"vector{suffix}": each for suffix, each in zip(suffixes, made, strict=True)}
    (place / "data").mkdir()
    card = json.dumps(told, indent=1, ensure_ascii=False).replace("`", "\\u0060")  # nothing in it ends the block
    (place / "README.md").write_text(CARD.replace("{told}", card), encoding="utf-8")
    batches = (_batch(block, labels, suffixes) for block in selection.joined(ROWS))
    for number, first in enumerate(batches):
        with pq.ParquetWriter(place / "data" / f"train-{number:05}.parquet", first.schema) as writer:
            writer.write_batch(first)
            written = first.nbytes
            while written < PART_BYTES and (batch := next(batches, None)) is not None:
                writer.write_batch(batch)
                written += batch.nbytes
    return ['open it with: datasets.load_dataset("FOLDER", split="train")']


def _batch(block: JoinedBlock, labels: Sequence[str], suffixes: Sequence[str]) -> pa.RecordBatch:
    columns: dict[str, Any] = {
        "image_id": pa.array(block.image_ids, pa.string()),
        "image_path": pa.array([each.get("path") for each in block.images], pa.string()),
        "width": pa.array([each.get("width") for each in block.images], pa.int32()),
        "height": pa.array([each.get("height") for each in block.images], pa.int32()),
    }
    for label, suffix in zip(labels, suffixes, strict=True):
        vectors = block.vectors[label]
        flat = pa.array(vectors.ravel())
        columns[f"vector{suffix}"] = pa.FixedSizeListArray.from_arrays(
            flat, vectors.shape[1], mask=pa.array(~block.there[label])
        )
        columns[f"words{suffix}"] = words_column(block.words[label]).cast(WORDS)
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
