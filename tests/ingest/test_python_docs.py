import os
import subprocess
import sys

import pytest

from stepwell.ingest import python_docs

SCRIPT = """
import hashlib
from stepwell.ingest import python_docs
print(hashlib.sha256(repr([(d.id, d.text) for d in python_docs()]).encode()).hexdigest())
"""


def test_thousands_of_documents_under_the_names_people_know() -> None:
    """Functions written in C, re-exported, built in or in os.path have their public name."""
    found = {document.id: document for document in python_docs()}
    assert len(found) > 4000
    for name in (
        "json.dumps",
        "heapq.heappush",
        "os.listdir",
        "os.path.join",
        "asyncio.run",
        "collections.deque",
        "concurrent.futures.ThreadPoolExecutor",
        "print",
        "str.removeprefix",
        "pathlib.Path.read_text",
    ):
        assert name in found
    assert found["json.dumps"].text.startswith("json.dumps(obj, *, skipkeys=False")
    assert found["str.removeprefix"].metadata == {
        "module": "builtins",
        "kind": "method",
        "name": "removeprefix",
    }
    assert not any(id.startswith(("posixpath.", "_", "test.")) for id in found)


def test_kinds_choose() -> None:
    """Only the kinds asked for are documents."""
    assert {d.metadata["kind"] for d in python_docs(["module", "class"])} == {"module", "class"}


def test_the_library_is_read_in_silence_and_alike_in_every_process() -> None:
    """Reading imports hundreds of modules, yet prints and warns nothing, and texts never vary."""
    made = [
        subprocess.run(
            [sys.executable, "-W", "error", "-c", SCRIPT],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        for seed in ("1", "2")
    ]
    assert made[0].stdout == made[1].stdout
    assert len(made[0].stdout.split()) == 1
    assert made[0].stderr == made[1].stderr == ""


def test_nothing_of_this_process_is_in_a_document(monkeypatch: pytest.MonkeyPatch) -> None:
    """A default value that is a live object, as the environment of `cgi.parse`, is not printed."""
    monkeypatch.setenv("STEPWELL_SECRET", "hunter2hunter2")
    text = "\n".join(document.text for document in python_docs())
    assert "hunter2hunter2" not in text
    assert " at 0x7" not in text
    assert sys.executable not in text


def test_modules_with_effects_are_not_imported() -> None:
    """Nothing opens a browser, prints a poem or needs a display."""
    script = (
        "import sys; from stepwell.ingest import python_docs; python_docs();"
        "print({'antigravity', 'this', 'tkinter', 'turtle', 'idlelib', 'test'} & set(sys.modules))"
    )
    made = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert made.stdout.strip() == "set()"
