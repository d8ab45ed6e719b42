"""Points 17 and 18: configured, copied, pickled and sent to a process, with one model loaded."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.runnables import ConfigurableField

import stepwell as sw
from stepwell.langchain import CascadeCompressor, CascadeRetriever
from stepwell.models import load_scorer
from tests.conformance.langchain_parts import (
    QUERY,
    Recorder,
    Spy,
    cascade_of,
    documents,
    over_corpus,
    over_store,
    shape,
)

FIELDS = {
    "k": ConfigurableField(id="k"),
    "search_kwargs": ConfigurableField(id="search_kwargs"),
}


async def test_17_configurable_fields() -> None:
    """`k` and `search_kwargs` can be set by config; the cascade and its models stay the same."""
    spy = Spy()
    retriever = CascadeRetriever(cascade=cascade_of(sw.TopK(3), sw.CrossEncoder(spy)))
    configurable = retriever.configurable_fields(**FIELDS)
    config: Any = {"configurable": {"k": 2, "search_kwargs": {"filter": {"module": "shutil"}}}}
    assert len(configurable.invoke(QUERY)) == 3
    assert len(configurable.invoke(QUERY, config)) == 2
    assert len(await configurable.ainvoke(QUERY, config)) == 2
    assert [len(found) for found in configurable.batch([QUERY, QUERY], config)] == [2, 2]
    made, _ = configurable._prepare(config)  # type: ignore[attr-defined]
    assert made is not retriever
    assert made.cascade is retriever.cascade


def test_17_originals_survive() -> None:
    """A corpus, and what it could not hold, are shared by the instance that a config makes."""
    given = [Document(id="a", page_content="log", metadata={"pair": (1, 2)})]
    retriever = CascadeRetriever.from_documents(given).configurable_fields(k=FIELDS["k"])
    (found,) = retriever.invoke("log", {"configurable": {"k": 1}})
    assert found.metadata["pair"] == (1, 2)


def test_17_alternatives_and_config() -> None:
    """Alternatives, bound configs, retries and fall-backs work."""
    other = CascadeRetriever(cascade=over_store().cascade, k=2)
    choice = over_store().configurable_alternatives(ConfigurableField(id="which"), few=other)
    assert len(choice.invoke(QUERY)) == 5
    assert len(choice.with_config(configurable={"which": "few"}).invoke(QUERY)) == 2
    recorder = Recorder()
    named = over_store().with_config(run_name="named", callbacks=[recorder])
    named.invoke(QUERY)
    assert recorder.of("start")[0]["name"] == "named"


async def test_17_models_are_loaded_once(loads: list[Any]) -> None:
    """Configured fields, alternatives, configs and copies, made per call, load one model once."""
    asked = (f"a question nobody asked, {at}" for at in range(100))
    scorer: Any = load_scorer()
    scorer.close()
    loads.clear()
    stages = [sw.BiEncoder(k=9), sw.CrossEncoder(k=3)]
    retriever = CascadeRetriever(cascade=cascade_of(*stages), k=3)
    fields = retriever.configurable_fields(**FIELDS)
    other = CascadeRetriever(cascade=cascade_of(sw.CrossEncoder(k=4)), k=4)
    either = retriever.configurable_alternatives(ConfigurableField(id="which"), other=other)
    for k in (1, 2, 3):
        config: Any = {"configurable": {"k": k}}
        assert len(fields.invoke(next(asked), config)) == k
        assert len(await fields.ainvoke(next(asked), config)) == k
        assert [len(found) for found in fields.batch([next(asked)], config)] == [k]
    for chosen, k in (("default", 3), ("other", 4)):
        assert len(either.with_config(configurable={"which": chosen}).invoke(next(asked))) == k
    assert len(retriever.with_config(tags=["t"]).invoke(next(asked))) == 3
    assert len(retriever.bind(k=2).invoke(next(asked))) == 2
    for made in (retriever.model_copy(), copy.copy(retriever), copy.deepcopy(retriever)):
        assert len(made.invoke(next(asked))) == 3
    assert len(CascadeCompressor().compress_documents(list(documents()[:6]), next(asked))) == 5
    assert len(loads) == 1, loads


@pytest.mark.parametrize("make", [over_corpus, over_store])
def test_18_copies_share(make: Any) -> None:
    """A deep copy, and a model_copy, share the cascade and its models, and answer alike."""
    retriever = make()
    for made in (copy.deepcopy(retriever), retriever.model_copy(deep=True), copy.copy(retriever)):
        assert made.cascade is retriever.cascade
        assert shape(made.invoke(QUERY)) == shape(retriever.invoke(QUERY))
    changed = copy.deepcopy(CascadeRetriever(cascade=retriever.cascade, search_kwargs={"k": 1}))
    changed.search_kwargs["k"] = 3
    assert len(changed.invoke(QUERY)) == 3
    compressor = CascadeCompressor()
    assert copy.deepcopy(compressor).cascade is compressor.cascade


def test_18_pickle(tmp_path: Path) -> None:
    """A pickled retriever over a corpus on disk answers alike in another process."""
    path = tmp_path / "c.stepwell"
    retriever = CascadeRetriever.from_documents(documents()[:20], path, k=3)
    expected = shape(retriever.invoke(QUERY))
    kept = tmp_path / "retriever.pickle"
    kept.write_bytes(pickle.dumps(retriever))
    assert kept.stat().st_size < 100_000
    retriever.corpus.close()
    program = (
        "import pickle, sys\n"
        "retriever = pickle.load(open(sys.argv[1], 'rb'))\n"
        "found = retriever.invoke(sys.argv[2])\n"
        "print([(each.id, round(each.metadata['relevance_score'], 6)) for each in found])\n"
    )
    command = [sys.executable, "-c", program, str(kept), QUERY]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(expected), done.stderr


def test_18_pickle_compressor() -> None:
    """A pickled compressor answers alike."""
    compressor = CascadeCompressor(top_n=2)
    back = pickle.loads(pickle.dumps(compressor))
    expected = compressor.compress_documents(documents()[:6], QUERY)
    assert shape(back.compress_documents(documents()[:6], QUERY)) == shape(list(expected))


@pytest.mark.parametrize("kind", ["retriever", "compressor"])
def test_18_unpickling_loads_when_asked(kind: str, loads: list[Any]) -> None:
    """Copies and pickles load nothing; an unpickled one loads the model at its first question."""
    given = list(documents()[:6])
    made: Any = over_store() if kind == "retriever" else CascadeCompressor(top_n=2)

    def ask(one: Any, query: str) -> Any:
        if kind == "retriever":
            return shape(one.invoke(query))
        return shape(list(one.compress_documents(given, query)))

    expected = ask(made, f"{kind}, lazily")
    kept = pickle.dumps(made)
    scorer: Any = load_scorer()
    scorer.close()
    loads.clear()
    back, twin, model_twin = pickle.loads(kept), copy.deepcopy(made), made.model_copy(deep=True)
    assert loads == []
    assert ask(back, f"{kind}, lazily") == expected
    assert len(loads) == 1
    assert ask(twin, f"{kind}, once more") == ask(model_twin, f"{kind}, once more")
    assert len(loads) == 1


def test_18_a_spawned_process_answers_alike(tmp_path: Path) -> None:
    """Retriever and compressor work in a process that shares nothing with this one."""
    made = CascadeRetriever.from_documents(documents()[:20], tmp_path / "corpus", k=3)
    asked = [
        (made, {"input": QUERY}),
        (over_store(), {"input": QUERY}),
        (CascadeCompressor(top_n=2), {"documents": list(documents()[:9]), "query": QUERY}),
    ]
    expected = [_answered(one, call) for one, call in asked]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.starmap(_answered, asked) == expected
    made.corpus.close()


def _answered(one: Any, call: dict[str, Any]) -> list[Any]:
    return shape(one.compress_documents(**call) if "documents" in call else one.invoke(**call))
