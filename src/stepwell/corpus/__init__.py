"""The corpus: documents kept durably, with their term index and vectors in step."""

from stepwell.corpus.corpus import Corpus, Found
from stepwell.corpus.upkeep import Report

__all__ = ["Corpus", "Found", "Report"]
