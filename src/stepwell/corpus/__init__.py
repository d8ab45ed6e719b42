"""The corpus: documents kept durably, with their term index and vectors in step."""

from stepwell.corpus.corpus import Corpus
from stepwell.corpus.exporting import export
from stepwell.corpus.importing import import_corpus
from stepwell.corpus.opening import examined
from stepwell.corpus.reading import Found
from stepwell.corpus.verifying import Report

__all__ = ["Corpus", "Found", "Report", "examined", "export", "import_corpus"]
