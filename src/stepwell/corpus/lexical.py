"""BM25 by tantivy: rows and scores for a text, exact under any filter.

The scores are tantivy's: BM25 with k1=1.2, b=0.75, idf = ln(1 + (N - df + 0.5) / (df + 0.5)), the
document length rounded to one byte as Lucene does. What a query contains is looked up term by
term and never parsed: no text has a meaning as syntax. Ties are broken by row.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tantivy

from stepwell.corpus.analyzers import Analyzer, analyzer
from stepwell.corpus.refusals import disk
from stepwell.corpus.terms import Scores as Scores
from stepwell.corpus.terms import Terms
from stepwell.documents import well_formed
from stepwell.threads import cores

log = logging.getLogger("stepwell")

_HEAP, _THREADS = 128_000_000, 2


class Lexical:
    """One tantivy index: a term index of the texts and a column with their rows.

    Args:
        path: Its folder; None keeps it in memory.
        analyzer: How texts become terms.
    """

    def __init__(self, path: Path | None, *, analyzer: Analyzer) -> None:
        self.path = path
        self.analyzer = analyzer
        self.copied = False
        self._schema = _schema()
        self._index = tantivy.Index(self._schema, str(path) if path else None)
        self._index.register_tokenizer("text", analyzer.inner)
        self._index.config_reader("manual")
        self.reload()

    @classmethod
    def create(cls, path: Path, *, analyzer: Analyzer) -> Lexical:
        """An empty index in a new folder."""
        with disk(path.parent):
            path.mkdir()
            return cls(path, analyzer=analyzer)

    @classmethod
    def existing(cls, path: Path, *, analyzer: Analyzer) -> Lexical:
        """The index in this folder.

        Raises:
            FileNotFoundError: There is none.
        """
        if not (path / "meta.json").exists():
            raise FileNotFoundError(f"{path} holds no term index")
        if os.access(path, os.W_OK):
            return cls(path, analyzer=analyzer)
        # tantivy makes a lock file even to read: where it may not, it reads a copy.
        copy = Path(tempfile.mkdtemp(prefix="stepwell-"))
        shutil.copytree(path, copy, dirs_exist_ok=True, copy_function=shutil.copyfile)
        copy.chmod(0o700)
        index = cls(copy, analyzer=analyzer)
        index.copied = True
        weakref.finalize(index, shutil.rmtree, copy, True)
        return index

    def reload(self) -> None:
        """See what was committed since, here or in another process."""
        self._index.reload()

    def terms(self) -> Terms:
        """What was committed when it was last reloaded."""
        return Terms(self._index.searcher(), schema=self._schema, analyzer=self.analyzer)

    def writer(self) -> LexicalWriter:
        """The one writer; `close` it.

        Raises:
            CorpusError: The disk is full, or may not be written to; so each method of the writer.
        """
        place = Path() if self.path is None else self.path.parent
        # In memory there are few texts, for which a second thread is not worth its start.
        threads = 1 if self.path is None else min(cores(), _THREADS)
        with disk(place):
            writer = self._index.writer(_HEAP, threads)
            # A killed writer leaves files that no commit knows; the next one would trip over them.
            writer.garbage_collect_files()
        return LexicalWriter(writer, self._schema, self.analyzer, place=place)


class LexicalWriter:
    """Adds and removes rows; nothing is seen before `commit`."""

    def __init__(self, writer: Any, schema: Any, analyzer: Analyzer, *, place: Path) -> None:
        self._place = place
        self._writer = writer
        self._schema = schema
        self._analyzer = analyzer
        self._changed = False

    def add(self, rows: Iterable[int], texts: Iterable[str]) -> None:
        """Index texts under rows that the index does not hold."""
        prepare, add = self._analyzer.prepare, self._writer.add_document
        self._changed = True
        with disk(self._place):
            for row, text in zip(rows, texts):
                document = tantivy.Document()
                document.add_integer("row", row)
                document.add_text("text", prepare(text))
                add(document)

    def remove(self, rows: Sequence[int]) -> None:
        """Forget rows; one that the index does not hold is no error."""
        for row in rows:
            self._writer.delete_documents_by_term("row", row)
            self._changed = True

    def commit(self) -> None:
        """Make all of it durable and visible, if there is anything."""
        if self._changed:
            with disk(self._place):
                self._writer.commit()
            self._changed = False

    def undo(self) -> None:
        """Forget what was not committed."""
        if self._changed:
            with disk(self._place):
                self._writer.rollback()
            self._changed = False

    def close(self) -> None:
        """Wait for what runs in the background and give the index's lock back."""
        try:
            self._writer.wait_merging_threads()
        except ValueError as error:  # a merge that failed has lost nothing
            log.warning("corpus %s: files could not be merged: %s", self._place, error)


def score_texts(query: str, texts: Sequence[str], *, analyzer: str = "english") -> Scores:
    """BM25 of texts that are in no corpus, over these texts alone.

    Args:
        query: The question.
        texts: What to score.
        analyzer: A language, "plain" or "code".

    Returns:
        float64 (n,), higher is better, 0 where no term of the query occurs.

    Raises:
        ConfigurationError: There is no such analyzer.
    """
    index = Lexical(None, analyzer=_analyzer(analyzer))
    scores = np.zeros(len(texts))
    asked = index.terms().query(query)
    if asked is None or not texts:
        return scores
    writer = index.writer()
    writer.add(range(len(texts)), map(well_formed, texts))
    writer.commit()
    writer.close()
    index.reload()
    rows, found = index.terms().search(asked, len(texts))
    scores[rows] = found
    return scores


_analyzer = analyzer


def _schema() -> Any:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("text", stored=False, tokenizer_name="text", index_option="position")
    # An unsigned field takes no Python int; a signed one does.
    builder.add_integer_field("row", stored=False, indexed=True, fast=True)
    return builder.build()
