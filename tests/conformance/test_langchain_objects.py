"""Points 17, 18, 19, 22 and 36: configuring, copying, pickling, dumping, importing, closing."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.load import dumpd
from langchain_core.runnables import ConfigurableField

import stepwell as sw
from stepwell.langchain import CascadeCompressor, CascadeRetriever
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


def test_21_retry_and_fallbacks() -> None:
    """with_retry asks again and with_fallbacks asks another."""
    tries = []

    def flaky(candidates: sw.Candidates) -> sw.Candidates:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("gone")
        return over_store().cascade.run(candidates)

    retriever = CascadeRetriever(cascade=sw.Cascade([sw.stage(flaky)]))
    assert len(retriever.with_fallbacks([over_store()]).invoke(QUERY)) == 5
    again = retriever.with_retry(stop_after_attempt=3, wait_exponential_jitter=False)
    assert len(again.invoke(QUERY)) == 5
    assert len(tries) == 3


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


def test_19_dump() -> None:
    """A dump is JSON, short, and shows neither filters nor what models hold."""
    secret = "sk-very-secret"

    class Remote(Spy):
        api_key = secret

        def __repr__(self) -> str:
            return f"Remote({self.api_key})"

    retriever = CascadeRetriever(
        cascade=cascade_of(sw.CrossEncoder(Remote())),
        filter={"tenant": secret},
        search_kwargs={"filter": {"tenant": secret}},
    )
    text = json.dumps(dumpd(retriever))
    assert secret not in text
    assert secret not in repr(retriever)
    assert len(repr(over_corpus())) < 400
    assert len(repr(CascadeCompressor())) < 400


def test_22_import_is_light() -> None:
    """Importing the adapter needs langchain-core alone, and warns of nothing."""
    program = (
        "import sys\n"
        "import stepwell.langchain\n"
        "heavy = ('torch', 'onnxruntime', 'tantivy', 'chromadb', 'llama_index', 'langchain',\n"
        "         'langchain_classic', 'langchain_community', 'langchain_chroma', 'transformers')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_22_missing_extra() -> None:
    """Without langchain-core the error says what to install."""
    program = "import sys; sys.modules['langchain_core'] = None; import stepwell.langchain"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "pip install 'stepwell[langchain]'" in done.stderr


def test_36_closed_corpus_says_so() -> None:
    """After close() the temporary corpus is gone from disk, and asking says what happened."""
    retriever = CascadeRetriever.from_documents(documents()[:3])
    path = Path(retriever.corpus.path)
    assert path.exists()
    retriever.corpus.close()
    assert not path.exists()
    with pytest.raises(sw.StepwellError, match="closed"):
        retriever.invoke(QUERY)
