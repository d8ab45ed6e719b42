"""The examples, run as a user runs them, over fewer documents."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from stepwell.ingest import python_docs

EXAMPLES = Path(__file__).parents[2] / "examples"
MODULES = ("statistics", "timeit", "json")


@pytest.fixture
def quickstart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for framework in ("langchain_core", "llama_index.core"):
        pytest.importorskip(framework, reason=f"needs {framework}, which is not installed")
    spec = importlib.util.spec_from_file_location("quickstart", EXAMPLES / "quickstart.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    few = [
        each for each in python_docs(["function", "class"]) if each.metadata["module"] in MODULES
    ]
    monkeypatch.setattr(module, "HERE", tmp_path / "quickstart.stepwell")
    monkeypatch.setattr(module, "python_docs", lambda kinds: few)
    monkeypatch.setattr(sys, "argv", ["quickstart.py"])
    return module


def test_quickstart_answers_alike_in_both_frameworks(
    quickstart: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both quote the right function from the same sources; a second run uses the same corpus."""
    quickstart.main()
    said = capsys.readouterr().out
    answers = re.findall(r"^  (LangChain|LlamaIndex): (.+)$", said, re.MULTILINE)
    assert [framework for framework, _ in answers] == ["LangChain", "LlamaIndex"] * 2
    assert answers[0][1] == answers[1][1]
    assert "middle value" in answers[0][1]
    assert "timeit" in said.split("small piece of code")[1]
    row = re.compile(r"^    \d\.\d{3}  (\S+) .*hybrid .*bi-encoder .*cross-encoder ", re.MULTILINE)
    sources = row.findall(said)
    assert sources[:3] == sources[3:6]
    assert sources[0] == "statistics.median"
    assert len(sources) == 12
    assert "pick a random element of a list? " in said
    assert re.search(r"^total +ok", said, re.MULTILINE)

    monkeypatch.setattr(sys, "argv", ["quickstart.py", "parse JSON text into an object"])
    quickstart.main()
    again = capsys.readouterr().out
    assert again.splitlines()[0] == said.splitlines()[0]
    assert "json." in again
