"""LangChain documents into a corpus."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document as LangChainDocument
from langchain_core.embeddings import Embeddings

from stepwell.ask import several
from stepwell.documents import Document, well_formed
from stepwell.errors import InputError
from stepwell.langchain.convert import Borrowed, borrowed, is_whole, storable
from stepwell.langchain.embeddings import as_encoder

if TYPE_CHECKING:
    from stepwell.corpus import Corpus


OF_THE_CORPUS = ("encoder", "analyzer", "vectors")
"""Options of `Corpus.open` that a retriever takes too."""


def corpus_of(
    documents: Iterable[LangChainDocument], path: str | Path | None, **options: Any
) -> tuple[Corpus, dict[str, LangChainDocument]]:
    """Documents in a corpus, and by id those of which it could not hold all.

    Args:
        documents: What to index; two of one id must be the same.
        path: A corpus on disk; None makes a temporary one.
        **options: For `Corpus.open`.

    Raises:
        InputError: See `CascadeRetriever.from_documents`.
    """
    # Who brings a cascade of their own needs no index.
    from stepwell.corpus import Corpus

    several(documents, "documents")
    if isinstance(options.get("encoder"), Embeddings):
        options["encoder"] = as_encoder(options["encoder"])
    found = list(borrowed(documents).values())
    for document in found:
        if document.original.id and document.id != document.original.id:
            raise InputError(f"two different documents have the id {document.original.id!r}")
    if path is not None:
        stored = list(map(_durable, found))
        corpus = Corpus.open(path, **options)
        corpus.upsert(stored)
        return corpus, {}
    corpus = Corpus.temporary(**options)
    corpus.add(
        [Document(each.id, well_formed(each.text), storable(each.metadata)) for each in found]
    )
    return corpus, {each.id: each.original for each in found if not is_whole(each.original)}


def _durable(document: Borrowed) -> Document:
    """The document as it is: what a corpus cannot keep of its metadata, it refuses itself."""
    original = document.original
    if type(original) is not LangChainDocument:
        raise InputError(
            f"document {document.id!r} is a {type(original).__name__}, of which a corpus on disk "
            "keeps only text and metadata; convert it, or leave path out"
        )
    return Document(document.id, document.text, original.metadata)
