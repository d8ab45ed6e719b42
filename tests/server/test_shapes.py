"""Each API's shape, asked over a socket."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np
import pytest

from stepwell import RemoteReranker
from stepwell.models import load_scorer
from stepwell.server import Service
from stepwell.server.answering import probabilities
from tests.server.serving import QUERY, TEXTS, post, running


@pytest.fixture(scope="module")
def local() -> Any:
    return load_scorer().score(QUERY, TEXTS).values.astype(np.float64)


def by_index(results: list[dict[str, Any]], score: str = "relevance_score") -> list[float]:
    return [each[score] for each in sorted(results, key=lambda each: each["index"])]


@pytest.mark.parametrize(("path", "version"), [("/v2/rerank", "2"), ("/v1/rerank", "1")])
def test_cohere_shape(served: str, local: Any, path: str, version: str) -> None:
    """Every document has its index and the probability of its score, best first; ties in order."""
    answer = post(served, path, {"model": "any", "query": QUERY, "documents": TEXTS}).json()
    results = answer["results"]
    assert [each["index"] for each in results] == np.argsort(-local, kind="stable").tolist()
    assert by_index(results) == pytest.approx(probabilities(local, load_scorer()), rel=1e-6)
    assert answer["meta"] == {"api_version": {"version": version}}
    assert set(results[0]) == {"index", "relevance_score"}
    assert answer["id"] != post(served, path, {"query": QUERY, "documents": TEXTS}).json()["id"]


def test_jina_shape(served: str) -> None:
    """Documents come as strings or objects, their texts go back; top_n cuts."""
    documents = [{"text": text, "page": at} for at, text in enumerate(TEXTS[:2])] + TEXTS[2:]
    body = {"query": QUERY, "documents": documents, "return_documents": True, "top_n": 2}
    for path in ("/v1/rerank", "/rerank", "/v2/rerank"):
        answer = post(served, path, body).json()
        found = [(each["index"], each["document"]) for each in answer["results"]]
        assert found == [(1, {"text": TEXTS[1]}), (4, {"text": TEXTS[4]})]
        assert answer["usage"] == {"prompt_tokens": 0, "total_tokens": 0}
        assert answer["model"] == load_scorer().name
    assert len(post(served, "/rerank", {**body, "top_n": 99}).json()["results"]) == len(TEXTS)


def test_tei_shape(served: str, local: Any) -> None:
    """`texts` give a list: probabilities, or with raw_scores what the model says."""
    asked = {"query": QUERY, "texts": TEXTS}
    answer = post(served, "/rerank", asked).json()
    assert by_index(answer, "score") == pytest.approx(probabilities(local, load_scorer()), rel=1e-6)
    assert set(answer[0]) == {"index", "score"}
    raw = post(served, "/rerank", {**asked, "raw_scores": True, "return_text": True}).json()
    assert by_index(raw, "score") == pytest.approx(local.tolist(), rel=1e-6)
    assert raw[0] == {"index": 1, "score": raw[0]["score"], "text": TEXTS[1]}


def test_tei_truncate(served: str) -> None:
    """A text longer than the model reads is cut, unless the request forbids it."""
    asked = {"query": QUERY, "texts": ["the logs " * 3000]}
    assert post(served, "/rerank", asked).status_code == 200
    refused = post(served, "/rerank", {**asked, "truncate": False})
    assert (refused.status_code, refused.json()["type"]) == (422, "too_large")
    assert "logs" not in refused.text
    assert post(served, "/rerank", {"query": "q", "texts": ["a"], "truncate": False}).is_success


RERANKS = ("/v2/rerank", "/v1/rerank", "/rerank")


@pytest.mark.parametrize(
    "known",
    [
        {"model": "x", "max_tokens_per_doc": 4096, "priority": 1},
        {"max_chunks_per_doc": 10, "rank_fields": ["text"], "return_documents": False},
        {"truncation": True, "user": "me", "request_id": "7", "truncate_prompt_tokens": 100},
        {"raw_scores": False, "top_n": None, "model": None},
    ],
    ids=["cohere v2", "cohere v1", "jina, vllm", "infinity"],
)
def test_fields_of_the_apis(served: str, known: dict[str, Any]) -> None:
    """What a client of an API may send beside the documents is taken, and changes no score."""
    asked = {"query": QUERY, "documents": TEXTS}
    for path in RERANKS:
        answer = post(served, path, {**asked, **known})
        assert answer.status_code == 200, answer.text
        assert answer.json()["results"] == post(served, path, asked).json()["results"]


def test_raw_scores_of_documents(served: str, local: Any) -> None:
    """As Infinity does, `raw_scores` gives what the model says."""
    asked = {"query": QUERY, "documents": TEXTS, "raw_scores": True}
    results = post(served, "/rerank", asked).json()["results"]
    assert by_index(results) == pytest.approx(local.tolist(), rel=1e-6)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"documents": ["a"], "top_k": 1}, "there is no field 'top_k'; did you mean 'top_n'?"),
        ({"documents": ["a"], "return_document": True}, "did you mean 'return_documents'?"),
        ({"documents": ["a"], "top_n": 0}, "top_n: must be at least 1"),
        ({"documents": ["a"], "top_n": 1.5}, "top_n: must be a whole number"),
        ({"documents": ["a"], "query": ""}, "query: must not be blank"),
        ({"documents": ["a"], "query": " \t"}, "query: must not be blank"),
        ({"documents": ["a", 3]}, 'documents[1]: must be a string or an object with "text"'),
        ({"documents": [{"txt": "a"}]}, "documents[0].text: is missing"),
        ({"documents": [{"text": 3}]}, "documents[0].text: must be a string"),
        ({"documents": "a"}, "documents: must be a list"),
    ],
)
def test_what_cannot_be_reranked(served: str, body: dict[str, Any], message: str) -> None:
    """Every path says it in the same plain words, none of them the program's own."""
    for path in RERANKS:
        answer = post(served, path, {"query": QUERY, **body})
        assert answer.status_code == 422
        assert answer.json()["message"].startswith(message) or message in answer.json()["message"]
        assert not any(word in answer.text for word in ("function", "documents.", "<", "Input"))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"query": "q", "texts": ["a", 3]}, "texts[1]: must be a string"),
        ({"query": "q", "texts": "a"}, "texts: must be a list"),
        ({"texts": ["a"]}, "query: is missing"),
        ({"query": "", "texts": ["a"]}, "query: must not be blank"),
        ({"query": "q", "texts": ["a"], "top_n": 1}, "there is no field 'top_n'; there are: query"),
        ({"query": "q", "texts": ["a"], "raw_score": True}, "did you mean 'raw_scores'?"),
        ({"query": "q", "texts": ["a"], "documents": ["a"]}, "not both"),
        ({"query": "q"}, "either `documents`"),
        ([], "either `documents`"),
    ],
)
def test_what_cannot_be_ranked(served: str, body: Any, message: str) -> None:
    """Texts and documents exclude each other, and what is wrong is named as it was sent."""
    answer = post(served, "/rerank", body)
    assert (answer.status_code, answer.json()["type"]) == (422, "invalid")
    assert message in answer.json()["message"]
    assert "texts.texts" not in answer.text


def test_jinas_truncation(served: str) -> None:
    """A document longer than the model reads is cut, unless the request forbids it."""
    asked = {"query": QUERY, "documents": ["the logs " * 3000]}
    assert post(served, "/v1/rerank", asked).status_code == 200
    refused = post(served, "/v1/rerank", {**asked, "truncation": False})
    assert (refused.status_code, refused.json()["type"]) == (422, "too_large")


@pytest.mark.parametrize("api", ["cohere", "jina", "tei", "vllm", "infinity"])
def test_our_own_client(served: str, api: str, local: Any) -> None:
    """RemoteReranker gets the local scorer's scores, in the order given, through each shape."""
    scorer = RemoteReranker(api, url=served, key="none", batch=2)
    values = scorer.score(QUERY, TEXTS).values
    scorer.close()
    told = [at for at, text in enumerate(TEXTS) if text]  # a blank one is not sent
    expected = probabilities(local, load_scorer())
    assert values[told] == pytest.approx(expected[told], rel=1e-6)
    assert np.argsort(-values[told], kind="stable").tolist() == [1, 3, 2, 0]


def test_half_a_character(served: str) -> None:
    """A lone surrogate, which no JSON in UTF-8 can hold, becomes a question mark."""
    content = b'{"query": "\\ud800", "documents": ["a \\udfff"], "return_documents": true}'
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(f"{served}/v1/rerank", content=content, headers=headers)
    assert answer.json()["results"][0]["document"] == {"text": "a ?"}


def test_the_embedded_models_probabilities_mean_something(served: str) -> None:
    """What answers the question is likelier than not, what does not is unlikely."""
    answer = post(served, "/v2/rerank", {"query": QUERY, "documents": TEXTS}).json()
    scores = by_index(answer["results"])
    assert 0.5 < scores[1] < 0.99
    assert scores[0] < 0.1


def test_nothing_to_rank(served: str) -> None:
    """No documents give no results; a blank document is scored."""
    for path, name in (("/v2/rerank", "documents"), ("/rerank", "texts")):
        empty = post(served, path, {"query": QUERY, name: []}).json()
        assert (empty["results"] if name == "documents" else empty) == []
        blank = post(served, path, {"query": QUERY, name: [""]}).json()
        assert len(blank["results"] if name == "documents" else blank) == 1


class Fixed:
    """Says the numbers that are the texts."""

    name = "fixed"

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def score(self, query: str, passages: list[str], /, *, stop: Any = None) -> Any:
        from stepwell.models.protocols import PairScores

        return PairScores(
            np.array([0 if each == "up" else float(each) for each in passages], dtype=np.float32)
        )


@pytest.mark.parametrize(
    ("kind", "texts", "expected"),
    [
        ("logit", ["-1000", "0", "2", "1000"], [0.0, 0.5, 0.8807970779778823, 1.0]),
        ("probability", ["0", "0.25", "1"], [0.0, 0.25, 1.0]),
        ("similarity", ["-1", "0", "1"], [0.0, 0.5, 1.0]),
    ],
)
def test_scores_of_every_kind_become_probabilities(
    kind: str, texts: list[str], expected: list[float]
) -> None:
    """Logits go through the logistic function, similarities are stretched, order is kept."""
    with running(Service(Fixed(kind))) as url:
        results = post(url, "/v2/rerank", {"query": "q", "documents": texts}).json()["results"]
    assert by_index(results) == pytest.approx(expected)
