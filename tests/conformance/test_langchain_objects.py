"""Points 17, 18, 19, 22 and 36: configuring, copying, pickling, dumping, importing, closing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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
