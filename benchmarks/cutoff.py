"""Where `--cut auto` ends a list: precision and recall of what it keeps, on synthetic cars under each aspect.

    uv run cie demo -o cie-demo && uv run python benchmarks/cutoff.py cie-demo

A hit is right if its label is the one that was searched for: as a text (each of the aspect's labels), or as an image
(every tenth of the collection).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import conditional_image_embeddings as cie
from conditional_image_embeddings import datasets
from conditional_image_embeddings.collection.searching.hits import Hits

MEANINGLESS = ("zebra", "dog", "invoice", "seven", "tuesday")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, nargs="?", default=Path("cie-demo"), help="What `cie demo -o` wrote.")
    demo = parser.parse_args().demo
    benchmark = datasets.get("synthetic_cars", demo / "datasets")
    with cie.open(demo / "embeddings") as collection:
        print("| aspect | query | queries | precision | worst | recall | worst | not cut |")
        print("|---|---|---|---|---|---|---|---|")
        for aspect, labels in benchmark.labels.items():
            asked = {"conditions": aspect.condition, "cut": "auto", "setting": "*-builtin-describe-*input_last*"}
            of_texts = [
                (label, collection.search(text=label.replace("_", " "), **asked), "")
                for label in sorted(set(labels.values()))
            ]
            of_images = [
                (labels[image_id], collection.search(image_id=image_id, **asked), image_id)
                for image_id in sorted(labels)[::10]
            ]
            for query, found in (("text", of_texts), ("image", of_images)):
                scores = [_score(hits, label, labels, without) for label, hits, without in found]
                precision, recall = np.array(scores).T
                whole = sum(hits.cut is None for _, hits, _ in found)
                print(
                    f"| {aspect.condition} | {query} | {len(found)} | {precision.mean():.3f} | {precision.min():.2f} "
                    f"| {recall.mean():.3f} | {recall.min():.2f} | {whole} |"
                )
            kept = [len(collection.search(text=word, **asked)) / len(labels) for word in MEANINGLESS]
            print(
                f"| {aspect.condition} | no meaning | {len(kept)} | keeps {np.mean(kept):.0%} of the images | | | | |"
            )


def _score(hits: Hits, label: str, labels: dict[str, str], without: str) -> Sequence[float]:
    right = sum(labels[hit.image_id] == label for hit in hits)
    there = sum(other == label for image_id, other in labels.items() if image_id != without)
    return right / max(1, len(hits)), right / max(1, there)


if __name__ == "__main__":
    main()
