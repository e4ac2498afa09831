"""How well vectors tell labels apart: MAP@R, Precision@1 and R-Precision of retrieval, AMI and NMI of clustering.

`retrieval` ranks, `scoring` turns one set of vectors and labels into figures, `rows` joins a store's vectors with
labels by image id, `tables` writes the rows down. The figures are `pytorch_metric_learning`'s (paper, "Metrics").
"""

from .rows import evaluate, evaluate_settings, images_of
from .scoring import METRICS, Scores, scores
from .tables import FORMATS, check_file, csv_table, format_table, json_rows, latex_table, write

__all__ = [
    "FORMATS",
    "METRICS",
    "Scores",
    "check_file",
    "csv_table",
    "evaluate",
    "evaluate_settings",
    "format_table",
    "images_of",
    "json_rows",
    "latex_table",
    "scores",
    "write",
]
