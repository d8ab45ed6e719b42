"""Copies and processes: nothing is loaded twice, nothing is warned of: point 33, and 22's twin."""

from __future__ import annotations

import copy
import logging
import multiprocessing
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core.callbacks import CallbackManager
from llama_index.core.schema import NodeWithScore

from stepwell import BM25, Cascade, CrossEncoder
from stepwell.llama_index import CascadePostprocessor, CascadeRetriever, as_stage
from stepwell.models import PairScores
from tests.conformance.llama_index_parts import QUESTION, Callbacks, nodes, scored, vector_index


def ids(found: list[NodeWithScore]) -> list[str]:
    return [each.node_id for each in found]


def test_33_copies_of_the_postprocessor_share_its_models(
    loads: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """pickle, deepcopy and model_copy answer alike, load no model again and warn of nothing."""
    made = CascadePostprocessor(3, callback_manager=CallbackManager([Callbacks()]))
    expected = ids(made.postprocess_nodes(scored(nodes()), query_str=QUESTION))
    loads.clear()
    with caplog.at_level(logging.WARNING):
        twins = [pickle.loads(pickle.dumps(made)), copy.deepcopy(made), made.model_copy()]
    assert caplog.records == []
    for twin in twins:
        assert twin == made
        assert ids(twin.postprocess_nodes(scored(nodes()), query_str=QUESTION)) == expected
    assert loads == []


def test_33_a_cascade_of_ones_own_is_shared_and_pickled() -> None:
    """deepcopy keeps the very cascade; pickle takes it along."""
    cascade = Cascade([CrossEncoder(k=4)])
    made = CascadePostprocessor(3, cascade)
    assert copy.deepcopy(made).cascade is cascade
    again = pickle.loads(pickle.dumps(made))
    assert ids(again.postprocess_nodes(scored(nodes()), query_str=QUESTION)) == ids(
        made.postprocess_nodes(scored(nodes()), query_str=QUESTION)
    )


def test_33_what_cannot_be_pickled_is_an_error() -> None:
    """A cascade around a local function fails to pickle, and is not silently left out."""
    made = CascadePostprocessor(3, Cascade([CrossEncoder(lambda query, passages: [])]))
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(made)


def test_33_copies_of_the_retriever_share_its_corpus(tmp_path: Path, loads: list[Any]) -> None:
    """deepcopy keeps corpus and models; a pickled one opens the same folder; both answer alike."""
    made = CascadeRetriever.from_documents(
        nodes(), tmp_path, callback_manager=CallbackManager([Callbacks()])
    )
    expected = made.retrieve(QUESTION)
    loads.clear()
    twin = copy.deepcopy(made)
    assert twin.cascade is made.cascade
    again = pickle.loads(pickle.dumps(made))
    assert twin.retrieve(QUESTION) == again.retrieve(QUESTION) == expected
    assert loads == []
    assert made.corpus is not None
    made.corpus.close()


def test_33_a_spawned_process_answers_alike(tmp_path: Path) -> None:
    """A pickled retriever works in a process that shares nothing with this one."""
    made = CascadeRetriever.from_documents(nodes(), tmp_path, k=3)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(_retrieved, (made, QUESTION))
    assert found == [(each.node_id, each.score) for each in made.retrieve(QUESTION)]
    assert made.corpus is not None
    made.corpus.close()


def _retrieved(retriever: CascadeRetriever, query: str) -> list[tuple[str, Any]]:
    return [(each.node_id, each.score) for each in retriever.retrieve(query)]


def test_33_neither_touches_the_default_language_or_embedding_model() -> None:
    """Retrieval and post-processing never ask for `Settings.llm` or `Settings.embed_model`."""
    from llama_index.core import Settings

    before = Settings._llm, Settings._embed_model
    CascadePostprocessor(2).postprocess_nodes(scored(nodes()), query_str=QUESTION)
    CascadeRetriever(Cascade([as_stage(vector_index()), CrossEncoder()])).retrieve(QUESTION)
    assert (Settings._llm, Settings._embed_model) == before == (None, None)


FRESH = """
import sys
import stepwell.llama_index
loud = {"torch", "transformers", "sentence_transformers", "onnxruntime", "chromadb",
        "langchain_core", "openai", "nltk", "tiktoken", "tantivy"}
print(sorted(loud & set(sys.modules)))
"""


def test_22_importing_the_adapter_loads_no_model_runtime() -> None:
    """In a fresh process, nothing deprecated used, it needs only LlamaIndex's core."""
    command = [sys.executable, "-W", "error::DeprecationWarning", "-c", FRESH]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


MISSING = """
import sys
sys.modules["llama_index"] = None
try:
    import stepwell.llama_index
except ImportError as error:
    print(type(error).__name__, error)
"""


def test_22_without_llama_index_the_error_is_the_line_to_type() -> None:
    """Where llama-index-core is not installed the import says which extra brings it."""
    done = subprocess.run([sys.executable, "-c", MISSING], capture_output=True, text=True)
    assert "MissingExtraError" in done.stdout
    assert "pip install 'stepwell[llama-index]'" in done.stdout


def test_36_adapters_share_one_model_and_closing_frees_it(loads: list[Any]) -> None:
    """Three adapters load each model once; after close the next use loads it again, and works."""
    scorer = CrossEncoder().scorer
    scorer.close()
    loads.clear()
    made = [
        CascadePostprocessor(1, Cascade([CrossEncoder()])),
        CascadePostprocessor(1, Cascade([CrossEncoder()])),
        CascadeRetriever(Cascade([as_stage(vector_index()), CrossEncoder()])),
    ]
    for each in made[:2]:
        each.postprocess_nodes(scored(nodes()), query_str=QUESTION)
    made[2].retrieve(QUESTION)
    assert len(loads) == len(set(loads))
    before = len(loads)
    assert before >= 1
    scorer.close()
    # Another question: the scores of this one are kept, and need no model.
    made[0].postprocess_nodes(scored(nodes()), query_str=f"{QUESTION} again")
    assert len(loads) == before + 1


def test_a_bm25_cascade_over_nodes_needs_no_model(loads: list[Any]) -> None:
    """A cascade without models loads none."""
    found = CascadePostprocessor(2, Cascade([BM25()])).postprocess_nodes(
        scored(nodes()), query_str=QUESTION
    )
    assert len(found) == 2
    assert loads == []


def test_33_copies_and_pickles_load_when_asked(tmp_path: Path, loads: list[Any]) -> None:
    """Pickled or copied, neither loads a model before its first question, and then one."""
    post = CascadePostprocessor(3)
    made = CascadeRetriever.from_documents(nodes(("json",)), tmp_path, k=3)
    given = scored(nodes(("json",)))
    expected = [ids(post.postprocess_nodes(given, query_str="lazily")), ids(made.retrieve("lazy"))]
    kept = pickle.dumps((post, made))
    scorer: Any = CrossEncoder().scorer
    scorer.close()
    loads.clear()
    twins = [*pickle.loads(kept), copy.deepcopy(post), copy.deepcopy(made)]
    assert loads == []
    found = [
        ids(twins[0].postprocess_nodes(given, query_str="lazily")),
        ids(twins[1].retrieve("lazy")),
    ]
    assert found == expected
    assert len(loads) == 1
    twins[2].postprocess_nodes(given, query_str="lazily, once more")
    twins[3].retrieve("lazy, once more")
    assert len(loads) == 1
    for each in (twins[1].corpus, made.corpus):
        assert each is not None
        each.close()


def test_23_what_is_written_holds_no_secret() -> None:
    """Neither dict nor JSON nor repr shows what a model of the cascade holds."""

    class Remote:
        name, kind, api_key = "remote", "logit", "sk-very-secret"

        def score(self, query: str, passages: Any, /, *, stop: Any = None) -> PairScores:
            return PairScores(np.zeros(len(passages), np.float32))

        def __repr__(self) -> str:
            return f"Remote({self.api_key})"

    made = CascadePostprocessor(cascade=Cascade([CrossEncoder(Remote())]))
    retriever = CascadeRetriever(made.cascade, filters={"tenant": Remote.api_key})
    for text in (made.to_json(), str(made.to_dict()), repr(made), repr(retriever)):
        assert Remote.api_key not in text
