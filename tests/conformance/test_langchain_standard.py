"""Point 1: LangChain's own suite for retrievers, over a corpus and over a LangChain store."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.retrievers import BaseRetriever
from langchain_tests.integration_tests import RetrieversIntegrationTests

from stepwell.langchain import CascadeRetriever
from tests.conformance.langchain_parts import QUERY, over_corpus, over_store


class TestOverCorpus(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self) -> type[CascadeRetriever]:
        return CascadeRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"cascade": over_corpus().cascade}

    @property
    def retriever_query_example(self) -> str:
        return QUERY


class TestOverStore(TestOverCorpus):
    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"cascade": over_store().cascade}


@pytest.mark.parametrize("make", [over_corpus, over_store])
def test_01_is_a_retriever(make: Any) -> None:
    """A CascadeRetriever is a LangChain retriever wherever one is asked for by type."""
    assert isinstance(make(), BaseRetriever)


def test_01_the_suite_is_whole() -> None:
    """All five tests of LangChain's suite run as LangChain wrote them, none marked or replaced."""
    suite = {name for name in dir(RetrieversIntegrationTests) if name.startswith("test_")}
    assert len(suite) == 5
    for kind in (TestOverCorpus, TestOverStore):
        assert {name for name in dir(kind) if name.startswith("test_")} == suite
        for name in suite:
            assert getattr(kind, name) is getattr(RetrieversIntegrationTests, name)
