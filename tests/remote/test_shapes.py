"""What each API is asked and how its answer is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from stepwell.remote import RemoteReranker, Shape
from stepwell.remote.shapes import SHAPES
from tests.remote.server import ANSWERS, QUERY, SECRET, TEXTS, expected, serving


@pytest.mark.parametrize("api", list(ANSWERS))
def test_each_shape(api: str) -> None:
    """Every API is asked in its own shape, and its scores come back in the passages' order."""
    with serving(api) as server:
        scorer = RemoteReranker(api, url=server.url, key=SECRET)
        made = scorer.score(QUERY, TEXTS)
        scorer.close()
    wanted = expected()
    if api == "llama.cpp":
        wanted = [20 * value - 10 for value in wanted]
        assert scorer.kind == "logit"
    assert made.values.tolist() == pytest.approx(wanted, abs=1e-5)
    assert server.seen[0]["Authorization"] == f"Bearer {SECRET}"
    model = server.requests[0].get("model")
    assert model == SHAPES[api].model


BODIES = {
    "cohere": {"model": "rerank-v3.5", "query": QUERY, "documents": TEXTS},
    "voyage": {
        "model": "rerank-2.5",
        "query": QUERY,
        "documents": TEXTS,
        "return_documents": False,
    },
    "jina": {
        "model": "jina-reranker-v2-base-multilingual",
        "query": QUERY,
        "documents": TEXTS,
        "return_documents": False,
    },
    "tei": {"query": QUERY, "texts": TEXTS, "truncate": True, "raw_scores": False},
    "vllm": {"query": QUERY, "documents": TEXTS},
    "infinity": {
        "query": QUERY,
        "documents": TEXTS,
        "return_documents": False,
        "raw_scores": False,
    },
    "llama.cpp": {"query": QUERY, "documents": TEXTS},
}


@pytest.mark.parametrize("api", list(BODIES))
def test_exactly_what_is_sent(api: str) -> None:
    """Each API gets the fields of its documentation and no other."""
    with serving(api) as server:
        RemoteReranker(api, url=server.url, key=SECRET).score(QUERY, TEXTS)
    assert server.requests == [BODIES[api]]


def test_the_table_of_the_documentation_is_what_is_built() -> None:
    """Paths, keys, limits and kinds of docs/cross-encoders.md are those of the code."""
    page = (Path(__file__).parents[2] / "docs" / "cross-encoders.md").read_text(encoding="utf-8")
    for api, shape in SHAPES.items():
        (row,) = (line for line in page.splitlines() if line.startswith(f"| `{api}` |"))
        _, _, asks, keys, limit, kind, _ = (cell.strip() for cell in row.split("|"))
        assert asks.startswith(f"`{shape.path}`")
        assert all(f"`{name}`" in keys for name in shape.key or ("key=",))
        assert int(limit.replace(",", "")) == shape.limit
        assert kind == {"probability": "probabilities", "logit": "logits"}[shape.kind]
    hosts = {api: shape.url for api, shape in SHAPES.items() if shape.url}
    assert hosts == {
        "cohere": "https://api.cohere.com",
        "voyage": "https://api.voyageai.com",
        "jina": "https://api.jina.ai",
    }


def test_a_shape_of_ones_own() -> None:
    """An API that nobody listed is a Shape."""
    shape = Shape(
        "/rerank", lambda _, query, texts: {"query": query, "texts": texts}, None, "score"
    )
    with serving("tei") as server:
        made = RemoteReranker(shape, url=server.url).score(QUERY, TEXTS)
    assert made.values.tolist() == pytest.approx(expected())
