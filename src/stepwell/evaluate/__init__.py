"""Measures over a data set: of the whole cascade, and of each stage."""

from stepwell.evaluate.dataset import Dataset, splits
from stepwell.evaluate.evaluation import evaluate, evaluate_run
from stepwell.evaluate.judged import Qrels, Run, read_qrels, read_run
from stepwell.evaluate.measures import MEASURES, interval95, measure
from stepwell.evaluate.report import Report, StageRow

__all__ = [
    "MEASURES",
    "Dataset",
    "Qrels",
    "Report",
    "Run",
    "StageRow",
    "evaluate",
    "evaluate_run",
    "interval95",
    "measure",
    "read_qrels",
    "read_run",
    "splits",
]
