"""Points 19, 21, 22 and 36: dumping, retries and fall-backs, importing, closing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_core.load import dumpd

import stepwell as sw
from stepwell.langchain import CascadeCompressor, CascadeRetriever
from tests.conformance.langchain_parts import (
    QUERY,
    Spy,
    cascade_of,
    documents,
    over_corpus,
    over_store,
)


async def test_21_retry_and_fallbacks() -> None:
    """with_retry asks again and with_fallbacks asks another, awaited too."""
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
    tries.clear()
    assert len(await retriever.with_fallbacks([over_store()]).ainvoke(QUERY)) == 5
    assert len(await again.ainvoke(QUERY)) == 5
    assert len(tries) == 3


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
    compressor = CascadeCompressor(cascade=sw.Cascade([sw.CrossEncoder(Remote())]))
    assert secret not in json.dumps(dumpd(compressor))
    assert secret not in repr(compressor)


@pytest.mark.parametrize("make", [over_corpus, over_store, CascadeCompressor])
def test_19_is_not_said_to_be_loadable(make: Any) -> None:
    """A dump that `load` could not make a cascade from again says so, as other retrievers' do."""
    dumped = dumpd(make())
    assert dumped["type"] == "not_implemented"
    assert dumped["id"][-1] == type(make()).__name__
    assert "kwargs" not in dumped


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


WITHOUT_OTHERS = """
import sys
for name in ("langchain", "langchain_classic", "langchain_community", "langchain_chroma",
             "langchain_text_splitters", "chromadb", "llama_index", "torch", "transformers",
             "sentence_transformers"):
    sys.modules[name] = None
from langchain_core.documents import Document
from stepwell.langchain import CascadeCompressor, CascadeRetriever
given = [Document(id="a", page_content="rotate the logs"), Document(id="b", page_content="cats")]
assert CascadeRetriever.from_documents(given).invoke("logs")[0].id == "a"
assert CascadeCompressor().compress_documents(given, "logs")[0].id == "a"
others = {name.partition(".")[0] for name, module in sys.modules.items() if module}
print(sorted(name for name in others if name.startswith("lang")))
"""


def test_22_answers_without_the_others() -> None:
    """Both answer where only langchain-core is installed, and warn of nothing."""
    command = [sys.executable, "-W", "error", "-c", WITHOUT_OTHERS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = set(json.loads(done.stdout.replace("'", '"')))
    assert "langchain_core" in found
    assert found <= {"langchain_core", "langchain_protocol", "langsmith"}


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
