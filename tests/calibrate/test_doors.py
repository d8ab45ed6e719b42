"""Nothing relevant is an empty answer at every door."""

from __future__ import annotations

import pytest

import stepwell as sw
from stepwell.calibrate import calibrated
from stepwell.calibrator import Calibrator, Platt


@pytest.fixture
def silent(corpus: sw.Corpus) -> sw.Cascade:
    """Says of everything that it is not relevant."""
    never = Calibrator(Platt(1.0, -99.0), stage="bm25", kind="lexical")
    return calibrated(sw.Cascade([sw.BM25(corpus, 10)]), never, at_least=0.5)


async def test_langchain_gets_an_empty_list(silent: sw.Cascade) -> None:
    """Called and awaited; asking for more brings nothing back."""
    pytest.importorskip("langchain_core", reason="needs langchain_core, which is not installed")
    from stepwell.langchain import CascadeRetriever

    retriever = CascadeRetriever(cascade=silent, k=5)
    assert retriever.invoke("w1 w2 w3") == []
    assert await retriever.ainvoke("w1 w2 w3") == []


async def test_llama_index_gets_an_empty_list(silent: sw.Cascade) -> None:
    """Called and awaited."""
    pytest.importorskip("llama_index.core", reason="needs llama_index, which is not installed")
    from stepwell.llama_index import CascadeRetriever

    retriever = CascadeRetriever(cascade=silent, k=5)
    assert retriever.retrieve("w1 w2 w3") == []
    assert await retriever.aretrieve("w1 w2 w3") == []


def test_cascade_says_why(silent: sw.Cascade) -> None:
    """There were candidates, and the answer is whole."""
    found = silent.search("w1 w2 w3", k=5)
    assert found.trace.records[0].n_out > 0
    assert (found.hits, found.degraded) == ((), False)
    assert found.empty_because.startswith("nothing relevant: probability below 0.5 (best ")
