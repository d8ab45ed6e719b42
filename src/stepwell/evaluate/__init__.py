"""Measures over a data set: of a whole system, of each stage, and of one against another."""

from stepwell.evaluate.comparison import Changed, Comparison, compare
from stepwell.evaluate.dataset import Dataset, Documents, splits
from stepwell.evaluate.evaluation import against, evaluate, evaluate_run
from stepwell.evaluate.funnel import Funnel, StageLoss
from stepwell.evaluate.hurting import WHY, Hurt
from stepwell.evaluate.judged import Qrels, Run, read_qrels, read_run
from stepwell.evaluate.measures import MEASURES, interval95, measure
from stepwell.evaluate.named import find_dataset, named_dataset
from stepwell.evaluate.report import Baseline, Report, StageRow
from stepwell.evaluate.significance import Difference, differences

__all__ = [
    "MEASURES",
    "WHY",
    "Baseline",
    "Changed",
    "Comparison",
    "Dataset",
    "Difference",
    "Documents",
    "Funnel",
    "Hurt",
    "Qrels",
    "Report",
    "Run",
    "StageLoss",
    "StageRow",
    "against",
    "compare",
    "differences",
    "evaluate",
    "evaluate_run",
    "find_dataset",
    "interval95",
    "measure",
    "named_dataset",
    "read_qrels",
    "read_run",
    "splits",
]
