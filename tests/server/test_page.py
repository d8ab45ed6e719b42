"""What docs/serve.md says, tried on a real server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from stepwell.cli.serve import serve
from stepwell.server import Limits
from tests.server.serving import TEXTS, command

PAGE = (Path(__file__).parents[2] / "docs/serve.md").read_text(encoding="utf-8")
CURLS = re.findall(r"```bash\n(curl .*?)```", PAGE, re.DOTALL)
BLOCKS = re.findall(r"<!-- skip: next -->\n```python\n(.*?)```", PAGE, re.DOTALL)
BEST = {"/search": "logs.md", "/v2/rerank": 1, "/rerank": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of `stepwell serve` over a folder that `stepwell index` has read."""
    place = tmp_path_factory.mktemp("folder")
    (place / "docs").mkdir()
    (place / "docs/logs.md").write_text(f"# Logs\n\n{TEXTS[1]}\n", encoding="utf-8")
    (place / "docs/cat.md").write_text(f"# Cat\n\n{TEXTS[0]}\n", encoding="utf-8")
    words = ["-m", "stepwell", "index", str(place / "docs"), "--to", str(place / "handbook")]
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    with command(place / "handbook") as told:
        told.ready()
        yield told.url


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize(("line", "path"), list(zip(CURLS, BEST, strict=True)), ids=list(BEST))
def test_curl(folder: str, line: str, path: str) -> None:
    """Each call of the page finds the right document in a folder that was indexed as it says."""
    assert f"localhost:8000{path} " in line
    line = line.replace("localhost:8000", folder.removeprefix("http://"))
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    if path == "/search":
        assert answer["documents"][0]["metadata"]["path"] == BEST[path]
        assert answer["degraded"] is False
    else:
        results = answer if path == "/rerank" else answer["results"]
        assert results[0]["index"] == BEST[path]


@pytest.mark.parametrize("block", BLOCKS, ids=["cohere", "stepwell"])
def test_python(served: str, block: str) -> None:
    """Each block of Python runs against the server as it stands there."""
    if "import cohere" in block:
        pytest.importorskip("cohere", reason="needs cohere, which is not installed")
    code = block.replace("http://localhost:8000", served)
    assert code != block
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_limits_of_the_page_are_the_commands() -> None:
    """Each limit is in the table, and the command's default is the library's."""
    defaults = serve.__kwdefaults__ or dict(
        zip(serve.__code__.co_varnames, serve.__defaults__ or (), strict=False)
    )
    names = {"body": "bytes"}
    for field in fields(Limits):
        option = f"max_{names.get(field.name, field.name)}"
        assert defaults[option] == getattr(Limits(), field.name), option
        assert f"| `--{option.replace('_', '-')}` |" in PAGE
