"""How well vectors tell labels apart: MAP@R, Precision@1 and R-Precision of retrieval, AMI and NMI of clustering.

`retrieval` ranks, `scoring` turns one set of vectors and labels into figures, `rows` scores what
a store has, joined with labels by image id (`joining`), `tables` and `latex` write the rows down, `reference` as the
paper's code does. The figures are
`pytorch_metric_learning`'s (paper, "Metrics").
"""

from .latex import latex_table, made_with
from .layout import layouts
from .reference import results, write_results
from .rows import evaluate, images_of
from .scoring import METRICS, Scores, check_labels, scores
from .tables import (
    FORMATS,
    aligned,
    check_file,
    csv_table,
    format_table,
    json_rows,
    write,
)

__all__ = [
    "FORMATS",
    "METRICS",
    "Scores",
    "aligned",
    "check_file",
    "check_labels",
    "csv_table",
    "evaluate",
    "format_table",
    "images_of",
    "json_rows",
    "latex_table",
    "layouts",
    "made_with",
    "results",
    "scores",
    "write",
    "write_results",
]
