"""Data sets by their name in `ir_datasets`, which downloads and keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from stepwell.documents import Document, well_formed
from stepwell.errors import InputError, MissingExtraError, StepwellError, import_extra
from stepwell.evaluate.dataset import Dataset, Documents
from stepwell.ingest.reading import Reading


def find_dataset(place: Path | str, *, split: str = "test") -> Dataset:
    """A data set by the path of a folder in the BEIR layout, or by its name in `ir_datasets`.

    Args:
        place: A folder is taken before a name.
        split: Of a folder; a name says its own, as in "beir/nfcorpus/test".

    Raises:
        InputError: It is neither, or lacks queries or judgements.
        StepwellError: It cannot be downloaded.
    """
    folder = Path(place)
    if folder.exists() or folder.is_absolute():
        return Dataset.load(folder, split=split)
    try:
        return named_dataset(str(place))
    except MissingExtraError as error:
        raise InputError(
            f"{place} is no data set here; if it is a name in ir_datasets, run: "
            "pip install 'stepwell[ir-datasets]'"
        ) from error


def named_dataset(name: str) -> Dataset:
    """A data set by its name in `ir_datasets`.

    Raises:
        InputError: There is none of that name, or it lacks documents, queries or judgements.
        MissingExtraError: The extra `ir-datasets` is not installed.
        StepwellError: It cannot be downloaded.
    """
    library = import_extra("ir_datasets", extra="ir-datasets")
    try:
        found = library.load(name)
    except KeyError as error:
        raise InputError(
            f"{name} is no data set: there is no such folder, nor such a name in ir_datasets"
        ) from error
    lacking = [part for part in ("docs", "queries", "qrels") if not getattr(found, f"has_{part}")()]
    if lacking:
        raise InputError(f"{name} in ir_datasets has no {', '.join(lacking)}; name a part that has")
    try:
        queries = {query.query_id: _text(query) for query in found.queries_iter()}
        qrels: dict[str, dict[str, int]] = {}
        for row in found.qrels_iter():
            qrels.setdefault(row.query_id, {})[row.doc_id] = int(row.relevance)
    except Exception as error:
        raise _unreachable(name, error) from error
    rows = _Rows(name, found)
    return Dataset.of(name, queries, qrels, documents=Documents(rows.reading, rows.key))


@dataclass(frozen=True, slots=True)
class _Rows:
    """The documents, read anew by each iteration."""

    name: str
    found: Any

    def __iter__(self) -> Iterator[Document]:
        rows = iter(self.found.docs_iter())
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except Exception as error:
                raise _unreachable(self.name, error) from error
            title = well_formed(str(getattr(row, "title", "") or ""))
            yield Document(str(row.doc_id), _text(row), {"title": title} if title else {})

    def reading(self) -> Reading:
        count = self.found.docs_count()
        return Reading(self.name, self, sum(1 for _ in self) if count is None else count)

    def key(self) -> tuple[str, ...]:
        digest = sha256()
        for document in self:
            digest.update(f"{document.id}\0{document.text}\0".encode())
        return "ir_datasets", digest.hexdigest()


def _text(row: Any) -> str:
    """What is searched of a document, or asked: title and text as in a BEIR folder, or its own."""
    text = getattr(row, "text", None)
    if not isinstance(text, str):
        text = row.default_text()
    title = getattr(row, "title", None)
    return well_formed(f"{title}\n{text}" if isinstance(title, str) and title else text)


def _unreachable(name: str, error: Exception) -> StepwellError:
    # ir_datasets lets whatever the network, the disk or a parser raised through.
    reason = " ".join(str(error).split())
    reason = reason if len(reason) <= 200 else f"{reason[:200]}..."
    return StepwellError(
        f"ir_datasets cannot provide {name}: it downloads what it does not have, and some sets "
        f"need steps by hand (https://ir-datasets.com). {type(error).__name__}: {reason}"
    )
