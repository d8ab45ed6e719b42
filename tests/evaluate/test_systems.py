import pytest

from stepwell import BM25, Cascade, ConfigurationError, Corpus, Document, InputError
from stepwell.evaluate import Dataset, Documents, evaluate
from stepwell.ingest.reading import Reading

TEXTS = {"logs": "rotate the logs", "disk": "the disk is full of logs", "cats": "the cat is fed"}
DOCUMENTS = [Document(id, text) for id, text in TEXTS.items()]
DATASET = Dataset(
    name="tiny",
    queries={"q1": "rotate logs", "q2": "cat"},
    qrels={"q1": {"logs": 2, "disk": 1}, "q2": {"cats": 1}},
    documents=Documents(lambda: Reading("tiny", DOCUMENTS, 3), lambda: ("tiny",)),
)


@pytest.fixture(scope="module")
def reference() -> dict[str, float]:
    with Corpus.temporary(encoder=None) as corpus:
        corpus.add(DOCUMENTS)
        return dict(evaluate(Cascade([BM25(corpus)]), DATASET).measures)


def answers(text: str) -> list[str]:
    return ["logs", "disk"] if "logs" in text else ["cats"]


def langchain(ids: list[str | None], key: str = "key"):
    """A retriever of LangChain that finds by words; each document has this id, and TEXTS' id."""
    retrievers = pytest.importorskip("langchain_core.retrievers")
    made = pytest.importorskip("langchain_core.documents").Document
    held = {
        name: made(id=id, page_content=text, metadata={key: name})
        for id, (name, text) in zip(ids, TEXTS.items())
    }

    class Words(retrievers.BaseRetriever):
        def _get_relevant_documents(self, query, *, run_manager):
            return [held[name] for name in answers(query)]

    return Words()


def llama_index(ids: list[str], key: str = "key"):
    """The same of LlamaIndex."""
    retrievers = pytest.importorskip("llama_index.core.retrievers")
    schema = pytest.importorskip("llama_index.core.schema")
    held = {
        name: schema.TextNode(id_=id, text=text, metadata={key: name})
        for id, (name, text) in zip(ids, TEXTS.items())
    }

    class Words(retrievers.BaseRetriever):
        def _retrieve(self, query):
            return [schema.NodeWithScore(node=held[name]) for name in answers(query.query_str)]

    return Words()


@pytest.mark.parametrize("framework", [langchain, llama_index])
def test_a_retriever_is_measured_as_the_cascade_of_the_same_answers(framework, reference) -> None:
    """Documents are matched by their own id, or by the metadata key that holds it."""
    named = evaluate(framework(list(TEXTS)), DATASET)
    assert named.measures == reference
    assert (named.stages, named.preset) == ((), "Words")
    assert named.latency_ms["p99"] is not None
    keyed = evaluate(framework(["x1", "x2", "x3"]), DATASET, id_key="key")
    assert keyed.measures == reference


def test_documents_without_an_id_are_refused() -> None:
    """A LangChain document without id cannot be matched; the message names the remedy."""
    with pytest.raises(InputError, match=r"have no id.*id_key="):
        evaluate(langchain([None, None, None]), DATASET)
    with pytest.raises(InputError, match=r"no metadata\['doc'\]"):
        evaluate(langchain(list(TEXTS)), DATASET, id_key="doc")


@pytest.mark.parametrize("framework", [langchain, llama_index])
def test_ids_of_something_else_are_refused(framework) -> None:
    """Answers whose ids are all foreign to the data set are an error, not a row of zeros."""
    with pytest.raises(InputError, match="their ids differ"):
        evaluate(framework(["x1", "x2", "x3"]), DATASET)


def test_documents_that_are_known_but_wrong_count_0() -> None:
    """A system that answers only irrelevant documents of the data set is measured as 0."""
    other = Dataset("one", {"q2": "cat"}, {"q2": {"cats": 1}}, documents=DATASET.documents)
    assert evaluate(lambda text: ["disk"], other).measures["nDCG@10"] == 0.0


@pytest.mark.parametrize(
    "system",
    [
        answers,
        lambda text: [(id, -float(at)) for at, id in enumerate(answers(text))][::-1],
        lambda text: {id: 1 / (at + 1) for at, id in enumerate(answers(text))},
        lambda text: iter([*answers(text), *answers(text)]),
    ],
    ids=["ids", "pairs", "mapping", "repeated"],
)
def test_a_function_answers_ids_or_pairs(system, reference) -> None:
    """Ids count in their order, pairs by their score, and the first of a repeated id counts."""
    assert evaluate(system, DATASET).measures == reference


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([{"id": "logs"}], "ids, or .id, score. pairs, not a dict"),
        (["logs", ("disk", 1.0)], "mixed"),
        ([("logs", float("nan"))], "orders nothing"),
        ([("logs",)], "pairs"),
        ("logs", "list of documents or ids"),
        (None, "list of documents or ids"),
    ],
)
def test_answers_that_cannot_be_matched_are_refused(answer, message: str) -> None:
    """What is neither ids nor pairs is an error that says what was expected."""
    with pytest.raises(InputError, match=message):
        evaluate(lambda text: answer, DATASET)


def test_what_cannot_be_asked_is_refused() -> None:
    """A system is a cascade, a retriever or a function."""
    with pytest.raises(ConfigurationError, match="cannot ask a int"):
        evaluate(3, DATASET)


def test_an_error_of_the_system_names_the_query() -> None:
    """What a system raises goes through, with the id of the query beside it."""

    def broken(text: str) -> list[str]:
        if "cat" in text:
            raise RuntimeError("no cats")
        return ["logs"]

    with pytest.raises(RuntimeError, match="no cats") as caught:
        evaluate(broken, DATASET)
    assert caught.value.__notes__ == ["while asking query 'q2'"]
