"""`from_retriever` and `from_documents` of both adapters: what they take, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core import SummaryIndex, VectorStoreIndex
from llama_index.core.schema import TextNode

import stepwell as sw
import stepwell.langchain as lc
import stepwell.llama_index as li
from stepwell.testing import WordEncoder

MANY = 130
TEXTS = [f"passage {at} about logs" for at in range(MANY)]


def words() -> Any:
    return lc.as_embeddings(WordEncoder())


def store() -> InMemoryVectorStore:
    documents = [Document(id=str(at), page_content=text) for at, text in enumerate(TEXTS)]
    return InMemoryVectorStore.from_documents(documents, words())


def index() -> VectorStoreIndex:
    nodes = [TextNode(id_=str(at), text=text) for at, text in enumerate(TEXTS)]
    return VectorStoreIndex(nodes, embed_model=li.as_embedding(WordEncoder()))


def test_as_many_are_recalled_as_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Through both, k above the usual hundred is answered in full."""
    monkeypatch.setattr(sw.Cascade, "default", lambda *_, **__: sw.Cascade([sw.TopK(MANY)]))
    assert len(lc.CascadeRetriever.from_retriever(store(), k=MANY).invoke("logs")) == MANY
    narrow = store().as_retriever(search_kwargs={"k": 3})
    assert len(lc.CascadeRetriever.from_retriever(narrow, k=MANY).invoke("logs")) == MANY
    assert len(li.CascadeRetriever.from_retriever(index(), k=MANY).retrieve("logs")) == MANY


def test_a_stage_with_ones_own_choices_is_taken() -> None:
    """A stage of `as_stage` goes into from_retriever, as the error on filters advises."""
    few = [Document(id="a", page_content="logs", metadata={"team": "sre"})]
    existing = RunnableLambda(lambda _: few)
    with pytest.raises(sw.InputError, match="filter='after'"):
        lc.CascadeRetriever.from_retriever(existing).invoke("logs", filter={"team": "hr"})
    mine = lc.CascadeRetriever.from_retriever(lc.as_stage(existing, filter="after"))
    assert mine.invoke("logs", filter={"team": "hr"}) == []
    assert [each.id for each in mine.invoke("logs", filter={"team": "sre"})] == ["a"]
    summary = SummaryIndex([TextNode(id_="a", text="logs", metadata={"team": "sre"})])
    theirs = li.CascadeRetriever.from_retriever(li.as_stage(summary, filter="after"))
    assert theirs.retrieve(li.CascadeQuery("logs", filters={"team": "hr"})) == []


def test_two_nodes_of_one_id_are_refused() -> None:
    """Different nodes of one id are an error in LlamaIndex as in LangChain; equal ones are one."""
    one, two = TextNode(id_="a", text="x y"), TextNode(id_="a", text="z w")
    with pytest.raises(sw.InputError, match="two different nodes have the id 'a'"):
        li.CascadeRetriever.from_documents([one, two])
    assert len(li.CascadeRetriever.from_documents([one, one]).retrieve("x")) == 1


def test_an_embedding_of_the_framework_is_an_encoder() -> None:
    """Both take their own framework's embedding as the corpus's encoder."""
    node, document = TextNode(text="logs"), Document(page_content="logs")
    embedding = li.as_embedding(WordEncoder())
    assert li.CascadeRetriever.from_documents([node], encoder=embedding).retrieve("logs")
    assert lc.CascadeRetriever.from_documents([document], encoder=words()).invoke("logs")


@pytest.mark.parametrize("kind", ["langchain", "llama_index"])
def test_elsewhere_an_embedding_says_how_to_wrap_it(kind: str) -> None:
    """A corpus that is handed a framework's embedding says what makes it an encoder."""
    given: Any = words() if kind == "langchain" else li.as_embedding()
    with pytest.raises(sw.ConfigurationError, match=rf"stepwell\.{kind}\.as_encoder"):
        sw.Corpus.temporary(encoder=given)


def test_an_unknown_option_is_refused_by_name() -> None:
    """LangChain's own spelling is refused with ours, before anything is indexed."""
    with pytest.raises(sw.ConfigurationError, match=r"'embedding'; .* encoder="):
        lc.CascadeRetriever.from_documents([Document(page_content="x")], embedding=words())
