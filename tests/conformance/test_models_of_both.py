"""Points 16, 35, 36 and 37 for both frameworks: threads, memory, sharing, versions."""

from __future__ import annotations

import gc
import sys
import tomllib
import weakref
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import stepwell as sw
import stepwell.langchain as lc
import stepwell.llama_index as li
from stepwell.models import load_scorer
from stepwell.models.fast import FastScorer, Loaded
from stepwell.models.pairs import Joiner
from stepwell.models.registry import Handle, ModelKey, shared
from stepwell.models.runtime import embedded
from tests.conformance.langchain_parts import QUERY, documents, memory_store
from tests.conformance.llama_index_parts import QUESTION, vector_index
from tests.models import tiny

ROOT = Path(__file__).parents[2]


def test_16_threads_in_llama_index() -> None:
    """Sixteen threads, fifty calls each, on one retriever and one postprocessor answer as one."""
    cascade = sw.Cascade([li.as_stage(vector_index(), k=9), sw.CrossEncoder(k=3)])
    retriever, post = li.CascadeRetriever(cascade, k=3), li.CascadePostprocessor(3)
    questions = [QUESTION, "remove an item", "write to a file", "sort"]
    given = [vector_index().as_retriever(similarity_top_k=6).retrieve(each) for each in questions]

    def answers(at: int) -> list[Any]:
        ranked = post.postprocess_nodes(given[at % 4], query_str=questions[at % 4])
        return [retriever.retrieve(questions[at % 4]), ranked]

    def fifty(_: int) -> list[Any]:
        return [answers(at) for at in range(50)]

    expected = [answers(at) for at in range(4)]
    wanted = [expected[at % 4] for at in range(50)]
    with ThreadPoolExecutor(16) as threads:
        for found in threads.map(fifty, range(16)):
            assert found == wanted


class Cramped:
    """A real model on a device that holds few tokens at a time."""

    def __init__(self, model: Any, error: type[Exception]) -> None:
        self._model, self._error, self.config = model, error, model.config
        self.refused = 0

    def __call__(self, **inputs: Any) -> Any:
        if inputs["input_ids"].numel() > 400:
            self.refused += 1
            raise self._error("CUDA out of memory. Tried to allocate 2.00 GiB")
        return self._model(**inputs)

    def __getattr__(self, name: str) -> Any:
        move = getattr(self._model, name)

        def moved(*args: Any) -> Cramped:
            move(*args)
            return self

        return moved


async def test_35_memory_that_runs_out_halves_the_batch_and_completes(tmp_path: Path) -> None:
    """Through every door the answer is complete, and the one that a large device gives."""
    torch = pytest.importorskip("torch", reason="the extra sentence-transformers is not installed")
    from stepwell.models.source import load_source

    source = load_source(str(tiny.saved(tmp_path / "model", "bert")))
    cramped = Cramped(source.model, torch.OutOfMemoryError)
    question, found = QUERY, list(documents()[:40])
    nodes = vector_index().as_retriever(similarity_top_k=30).retrieve(QUESTION)
    wide, narrow = (
        sw.Cascade([sw.CrossEncoder(_scorer(source, model), k=None, blend=1.0)])
        for model in (source.model, cramped)
    )
    expected = lc.CascadeCompressor(cascade=wide, top_n=40).compress_documents(found, question)
    given = lc.CascadeCompressor(cascade=narrow, top_n=40)
    assert cramped.refused == 0
    for answer in (
        given.compress_documents(found, question),
        await given.acompress_documents(found, question),
    ):
        assert [each.id for each in answer] == [each.id for each in expected]
        assert not any(each.metadata["stepwell"]["degraded"] for each in answer)
    assert cramped.refused > 0
    best = li.CascadePostprocessor(30, wide).postprocess_nodes(nodes, query_str=question)
    kept = li.CascadePostprocessor(30, narrow).postprocess_nodes(nodes, query_str=question)
    assert [each.node_id for each in kept] == [each.node_id for each in best]


def _scorer(source: Any, model: Any) -> FastScorer:
    def load() -> Loaded:
        from stepwell.models.torch_engine import TorchEngine

        engine = TorchEngine(model, device="cpu", pad=source.pad, limit=source.length)
        return Loaded(engine, Joiner(source.tokenizer), source.length)

    handle = Handle(ModelKey(f"{type(model).__name__}-{id(model)}"), load)
    return FastScorer(handle, backend="torch", length=source.length)


def test_36_one_model_for_adapters_of_both_and_closing_frees_it(loads: list[Any]) -> None:
    """Adapters of both frameworks load one model; after close() nothing keeps it alive."""
    scorer: Any = load_scorer()
    scorer.close()
    loads.clear()
    made = [sw.Cascade([sw.CrossEncoder(k=2)]) for _ in range(4)]
    chain = lc.CascadeCompressor(cascade=made[0])
    post = li.CascadePostprocessor(cascade=made[1])
    over_store = lc.CascadeRetriever(cascade=sw.Cascade([lc.as_stage(memory_store()), made[2]]))
    over_index = li.CascadeRetriever(sw.Cascade([li.as_stage(vector_index()), made[3]]))
    question = "a question that nobody asked before"
    chain.compress_documents(list(documents()[:3]), question)
    post.postprocess_nodes(vector_index().as_retriever().retrieve(QUESTION), query_str=question)
    over_store.invoke(question)
    over_index.retrieve(question)
    assert [key.name for key in loads] == ["stepwell-embedded"]
    assert [key for key in shared.loaded() if key.name == "stepwell-embedded"] == loads
    loaded = weakref.ref(embedded()())
    scorer.close()
    gc.collect()
    assert loaded() is None
    assert over_store.invoke(f"{question} again")
    assert len(loads) == 2


DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = DECLARED["optional-dependencies"]
NEEDS = {Requirement(line) for extra in ("langchain", "llama-index") for line in EXTRAS[extra]}


def _here(need: Requirement) -> str:
    return f"{need.name}-{metadata.version(need.name)}"


@pytest.mark.parametrize("need", sorted(NEEDS, key=str), ids=_here)
def test_37_what_runs_here_is_what_is_declared(need: Requirement) -> None:
    """What is named in this test's id is inside its declared range, which has both its ends."""
    assert need.specifier.contains(metadata.version(need.name)), need
    ends = {each.operator for each in need.specifier}
    assert ends == {">=", "<"}, "the floor is what .ci/floor installs"


@pytest.mark.parametrize("python", [".".join(map(str, sys.version_info[:3]))])
def test_37_this_python_is_what_is_declared(python: str) -> None:
    """The interpreter named in this test's id is one that the project says it runs on."""
    assert SpecifierSet(DECLARED["requires-python"]).contains(python)
