"""BM25 by tantivy: rows and scores for a text, exact under any filter.

The scores are tantivy's: BM25 with k1=1.2, b=0.75, idf = ln(1 + (N - df + 0.5) / (df + 0.5)), the
document length rounded to one byte as Lucene does. What a query contains is looked up term by
term and never parsed: no text has a meaning as syntax. Ties are broken by row.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tantivy
from numpy.typing import NDArray

from stepwell.corpus.analyzers import Analyzer, analyzer
from stepwell.corpus.record import Rows
from stepwell.documents import well_formed

Scores = NDArray[np.float64]

_HEAP = 128_000_000
# Up to so many allowed rows are looked up (about 3 us each); beyond, hits are masked.
_FEW = 4096


class Lexical:
    """One tantivy index: a term index of the texts and a column with their rows.

    Args:
        path: Its folder; None keeps it in memory.
        analyzer: How texts become terms.
    """

    def __init__(self, path: Path | None, *, analyzer: Analyzer) -> None:
        self.path = path
        self.analyzer = analyzer
        self.copy: tempfile.TemporaryDirectory[str] | None = None
        self._schema = _schema()
        self._index = tantivy.Index(self._schema, str(path) if path else None)
        self._index.register_tokenizer("text", analyzer.inner)
        self._index.config_reader("manual")
        self.reload()

    @classmethod
    def create(cls, path: Path, *, analyzer: Analyzer) -> Lexical:
        """An empty index in a new folder."""
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
        copy = tempfile.TemporaryDirectory(prefix="stepwell-")
        shutil.copytree(path, copy.name, dirs_exist_ok=True, copy_function=shutil.copyfile)
        os.chmod(copy.name, 0o700)
        index = cls(Path(copy.name), analyzer=analyzer)
        index.copy = copy
        return index

    def reload(self) -> None:
        """See what was committed since, here or in another process."""
        self._index.reload()

    def writer(self) -> LexicalWriter:
        """The one writer; `close` it."""
        return LexicalWriter(self._index.writer(_HEAP, 1), self._schema, self.analyzer)

    # -- asking ----------------------------------------------------------------------------

    def query(self, text: str, *, phrase: bool = False) -> Any | None:
        """What tantivy is asked for this text; None when the text has no term."""
        if phrase:
            placed = self.analyzer.placed(text)
            if len(placed) > 1:
                return tantivy.Query.phrase_query(self._schema, "text", [*placed])
        terms = self.analyzer.query_terms(text)
        parts = [self._term(term, count) for term, count in terms.items()]
        if len(parts) < 2:
            return parts[0] if parts else None
        return tantivy.Query.boolean_query([(tantivy.Occur.Should, part) for part in parts])

    def search(self, query: Any, k: int, *, allowed: Rows | None = None) -> tuple[Rows, Scores]:
        """The best k rows, by score then by row, all with a score above 0.

        Args:
            query: From `query`.
            k: How many at most.
            allowed: Ascending rows to choose from; all when None.

        Returns:
            Rows int64 (n,) and scores float64 (n,); n < k only when no more match.
        """
        if allowed is None:
            return self._best(query, k)
        if len(allowed) <= _FEW:
            return self._best(self._within(query, allowed), min(k, max(len(allowed), 1)))
        return self._masked(query, k, allowed)

    def score(self, query: Any, rows: Rows) -> tuple[Rows, Scores]:
        """Those of the rows in which a term of the query occurs, with their scores."""
        found = [
            self._hits(self._within(query, part), len(part))
            for part in np.array_split(rows, -(-len(rows) // _FEW) or 1)
            if len(part)
        ]
        if not found:
            return np.empty(0, np.int64), np.empty(0)
        return np.concatenate([r for r, _ in found]), np.concatenate([s for _, s in found])

    def extent(self) -> tuple[int, int]:
        """How many rows the index holds, and their sum: a cheap check against the record."""
        if not self._index.searcher().num_docs:
            return 0, 0
        stats = self._index.searcher().aggregate(
            tantivy.Query.all_query(), {"rows": {"stats": {"field": "row"}}}
        )["rows"]
        return int(stats["count"]), int(stats["sum"])

    def rows(self) -> Rows:
        """(n,) int64 ascending: every row in the index, once for each time it is there."""
        searcher = self._index.searcher()
        if not searcher.num_docs:
            return np.empty(0, np.int64)
        hits = searcher.search(tantivy.Query.all_query(), searcher.num_docs, count=False).hits
        return np.sort(_rows(searcher, [address for _, address in hits]))

    def _term(self, term: str, count: int) -> Any:
        query = tantivy.Query.term_query(self._schema, "text", term)
        return query if count == 1 else tantivy.Query.boost_query(query, float(count))

    def _within(self, query: Any, rows: Rows) -> Any:
        among = tantivy.Query.term_set_query(self._schema, "row", rows.tolist())
        must = tantivy.Occur.Must
        # A score of 0 for being among them leaves the sum, and so every score, as it was.
        return tantivy.Query.boolean_query(
            [(must, query), (must, tantivy.Query.const_score_query(among, 0.0))]
        )

    def _best(self, query: Any, k: int) -> tuple[Rows, Scores]:
        limit = k + 1
        while True:
            rows, scores = self._hits(query, limit)
            # tantivy breaks ties by place in its files: all that tie with the last must be seen.
            if len(rows) < limit or scores[k - 1] > scores[-1]:
                order = np.lexsort((rows, -scores))[:k]
                return rows[order], scores[order]
            limit *= 4

    def _masked(self, query: Any, k: int, allowed: Rows) -> tuple[Rows, Scores]:
        total = max(self._index.searcher().num_docs, 1)
        limit = int(k * max(total / len(allowed), 1.0) * 1.2) + 16
        while True:
            rows, scores = self._best(query, limit)
            at = np.flatnonzero(_among(rows, allowed))[:k]
            if len(at) == k or len(rows) < limit:
                return rows[at], scores[at]
            limit *= 4

    def _hits(self, query: Any, limit: int) -> tuple[Rows, Scores]:
        searcher = self._index.searcher()
        # tantivy reserves room for as many hits as are asked for.
        limit = max(min(limit, searcher.num_docs), 1)
        hits = searcher.search(query, limit, count=False).hits
        scores = np.fromiter((score for score, _ in hits), np.float64, len(hits))
        return _rows(searcher, [address for _, address in hits]), scores


class LexicalWriter:
    """Adds and removes rows; nothing is seen before `commit`."""

    def __init__(self, writer: Any, schema: Any, analyzer: Analyzer) -> None:
        self._writer = writer
        self._schema = schema
        self._analyzer = analyzer
        self._changed = False
        # A killed writer leaves files that no commit knows; the next one would trip over them.
        writer.garbage_collect_files()

    def add(self, rows: Iterable[int], texts: Iterable[str]) -> None:
        """Index texts under rows that the index does not hold."""
        prepare, add = self._analyzer.prepare, self._writer.add_document
        for row, text in zip(rows, texts):
            document = tantivy.Document()
            document.add_integer("row", row)
            document.add_text("text", prepare(text))
            add(document)
            self._changed = True

    def remove(self, rows: Sequence[int]) -> None:
        """Forget rows; one that the index does not hold is no error."""
        for row in rows:
            self._writer.delete_documents_by_term("row", row)
            self._changed = True

    def commit(self) -> None:
        """Make all of it durable and visible, if there is anything."""
        if self._changed:
            self._writer.commit()
            self._changed = False

    def undo(self) -> None:
        """Forget what was not committed."""
        if self._changed:
            self._writer.rollback()
            self._changed = False

    def close(self) -> None:
        """Wait for what runs in the background and give the index's lock back."""
        self._writer.wait_merging_threads()


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
    asked = index.query(query)
    if asked is None or not texts:
        return scores
    writer = index.writer()
    writer.add(range(len(texts)), map(well_formed, texts))
    writer.commit()
    writer.close()
    index.reload()
    rows, found = index.search(asked, len(texts))
    scores[rows] = found
    return scores


_analyzer = analyzer


def _schema() -> Any:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("text", stored=False, tokenizer_name="text", index_option="position")
    # An unsigned field takes no Python int; a signed one does.
    builder.add_integer_field("row", stored=False, indexed=True, fast=True)
    return builder.build()


def _rows(searcher: Any, addresses: list[Any]) -> Rows:
    return np.array(searcher.fast_field_values("row", addresses), np.int64)


def _among(rows: Rows, allowed: Rows) -> NDArray[np.bool_]:
    """Whether each row is one of the allowed (ascending) rows."""
    if not len(allowed):
        return np.zeros(len(rows), np.bool_)
    at = np.minimum(np.searchsorted(allowed, rows), len(allowed) - 1)
    return np.asarray(allowed[at] == rows, np.bool_)
