"""The stages: recall, re-score, shape; one idea a file.

Importing this package loads no model runtime and no index: a stage's constructor does, on need.
"""

from stepwell.stages.bi_encoder import BiEncoder
from stepwell.stages.bm25 import BM25
from stepwell.stages.cross_encoder import CrossEncoder
from stepwell.stages.dedupe import Dedupe
from stepwell.stages.dense import Dense
from stepwell.stages.guarded import Guarded
from stepwell.stages.hybrid import Hybrid
from stepwell.stages.keyword import Keyword
from stepwell.stages.late_interaction import LateInteraction
from stepwell.stages.min_score import MinScore
from stepwell.stages.mmr import MMR
from stepwell.stages.parents import Parents
from stepwell.stages.presets import PRESETS, default_stages, preset
from stepwell.stages.probability import Probability
from stepwell.stages.top_k import TopK

__all__ = [
    "BM25",
    "MMR",
    "PRESETS",
    "BiEncoder",
    "CrossEncoder",
    "Dedupe",
    "Dense",
    "Guarded",
    "Hybrid",
    "Keyword",
    "LateInteraction",
    "MinScore",
    "Parents",
    "Probability",
    "TopK",
    "default_stages",
    "preset",
]
