"""Folders, BEIR sets and the standard library's documentation as documents of a corpus."""

from stepwell.ingest.beir import read_beir, read_queries
from stepwell.ingest.folder import read_folder, read_source
from stepwell.ingest.python_docs import python_docs
from stepwell.ingest.reading import Reading, Skipped
from stepwell.ingest.sync import Synced, sync

__all__ = [
    "Reading",
    "Skipped",
    "Synced",
    "python_docs",
    "read_beir",
    "read_folder",
    "read_queries",
    "read_source",
    "sync",
]
