"""Our scores of a database against scikit-learn's search and mutual information, and the reference's own evaluation.

    uv run --group benchmarks python benchmarks/evaluation_against_others.py DB [--setting GLOB]
    uv run --group benchmarks --with pandas --with webcolors python benchmarks/evaluation_against_others.py DB \
        --reference DIR   # a checkout of CyberAgentAILab/DIOR_conditional_image_embeddings

scikit-learn ranks in float64 and by its own code; AMI and NMI are its own of a k-means that faiss runs with our seed.
The reference measures Euclidean distance only, and starts its k-means as we do.
"""

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import measuring
import numpy as np
from numpy.typing import NDArray

from conditional_image_embeddings import datasets
from conditional_image_embeddings.collection.storage.store import Store
from conditional_image_embeddings.evaluation import METRICS, scores

FIGURES = ("map_at_r", "precision_at_1", "r_precision", "ami", "nmi")
Figures = dict[str, float]


def sklearn_scores(vectors: NDArray[np.float32], labels: Sequence[str], metric: str) -> Figures:
    """By the definitions, one query at a time, with scikit-learn's brute-force neighbours."""
    import faiss
    from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score
    from sklearn.neighbors import NearestNeighbors
    from sklearn.preprocessing import normalize

    kinds, numbers = np.unique(labels, return_inverse=True)
    search = NearestNeighbors(algorithm="brute", metric=metric).fit(vectors.astype(np.float64))
    nearest = search.kneighbors(n_neighbors=min(np.bincount(numbers).max(), len(vectors) - 1), return_distance=False)
    per_query = []
    for query, neighbours in enumerate(nearest):  # without arguments, kneighbors leaves each vector itself out
        r = int((numbers == numbers[query]).sum()) - 1
        if r:
            hits = numbers[neighbours[:r]] == numbers[query]
            precision = hits.cumsum() / np.arange(1, r + 1)
            per_query.append([(precision * hits).sum() / r, hits[0], hits.mean()])

    values = normalize(vectors) if metric == "cosine" else vectors
    kmeans = faiss.Kmeans(values.shape[1], len(kinds), niter=20, seed=1234, min_points_per_centroid=1)
    kmeans.train(values)
    clusters = kmeans.assign(values)[1]
    mutual = adjusted_mutual_info_score(numbers, clusters), normalized_mutual_info_score(numbers, clusters)
    return dict(zip(FIGURES, [*np.mean(per_query, axis=0), *mutual], strict=True))


def reference_scores(reference: ModuleType) -> Callable[[NDArray[np.float32], Sequence[str]], Figures]:
    names = ("mean_average_precision_at_r", "precision_at_1", "r_precision", "AMI", "NMI")

    def of(vectors: NDArray[np.float32], labels: Sequence[str]) -> Figures:
        # Its labels' numbers follow the order of a set; only AMI and NMI could tell, and they do not look at names.
        found = reference.Dataset("database").compute_accuracies(vectors, list(labels))
        return {name: found[theirs] for name, theirs in zip(FIGURES, names, strict=True)}

    return of


def load_reference(directory: Path) -> ModuleType:
    sys.path.insert(0, str(directory))  # for its package `utils`
    spec = importlib.util.spec_from_file_location("reference_evaluate", directory / "evaluate.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"{directory} is no checkout of the reference: there is no evaluate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("db")
    parser.add_argument("--setting", default="*", help="Glob over the settings' names.")
    parser.add_argument("--datasets-dir", help="Where the labels are, if moved.")
    parser.add_argument("--reference", type=Path, metavar="DIR", help="A checkout of the reference.")
    arguments = parser.parse_args()
    reference = reference_scores(load_reference(arguments.reference)) if arguments.reference else None
    store = Store(arguments.db, create=False)
    lines, differences = [], {}
    for setting in store.settings(arguments.setting):
        directory = arguments.datasets_dir or store.source_root(setting) or "./datasets"
        benchmark = datasets.get(setting.dataset, directory)
        image_ids, vectors = store.read(setting)
        for aspect in benchmark.aspects:
            labels = [benchmark.labels[aspect][image_id] for image_id in image_ids]
            for metric in METRICS:
                found = scores(vectors, labels, metric=metric)
                contenders = {"this package": {name: getattr(found, name) for name in FIGURES}}
                contenders["scikit-learn"] = sklearn_scores(vectors, labels, metric)
                if reference and metric == "euclidean":
                    contenders["reference"] = reference(vectors, labels)
                for contender, figures in contenders.items():
                    lines.append(
                        [setting.name, aspect.name, metric, contender, *(f"{figures[name]:.6f}" for name in FIGURES)]
                    )
                    for name in FIGURES:
                        difference = abs(figures[name] - contenders["this package"][name])
                        differences[contender, name] = max(difference, differences.get((contender, name), 0.0))
    print(measuring.machine())
    print(measuring.table(["setting", "aspect", "distance", "by", *FIGURES], lines))
    print("\nLargest difference from this package:\n")
    names = list(dict.fromkeys(contender for contender, _ in differences if contender != "this package"))
    rows = [[name, *(f"{differences[name, figure]:.1e}" for figure in FIGURES)] for name in names]
    print(measuring.table(["contender", *FIGURES], rows))


if __name__ == "__main__":
    main()
