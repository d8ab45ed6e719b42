"""The packages that only give Stepwell the names by which each framework's users look for it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parents[2] / "packages"
MODULES = {
    "langchain-stepwell": ("langchain_stepwell", "stepwell.langchain", "langchain_core"),
    "llama-index-postprocessor-stepwell": (
        "llama_index.postprocessor.stepwell",
        "stepwell.llama_index",
        "llama_index.core",
    ),
    "llama-index-retrievers-stepwell": (
        "llama_index.retrievers.stepwell",
        "stepwell.llama_index",
        "llama_index.core",
    ),
}
# Run with the installed wheel's folder, the module and where its names come from.
CHECK = """
import importlib, sys
folder, name, origin = sys.argv[1:]
sys.path.insert(0, folder)
module, source = importlib.import_module(name), importlib.import_module(origin)
assert module.__file__.startswith(folder), module.__file__
for each in module.__all__:
    assert getattr(module, each) is getattr(source, each), each
print(*module.__all__)
"""


@pytest.fixture(scope="module", params=MODULES)
def wheel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from this tree, without the internet."""
    pytest.importorskip("hatchling", reason="needs hatchling, which is not installed")
    folder = tmp_path_factory.mktemp(request.param)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(
        command, cwd=PACKAGES / request.param, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


def project_of(wheel: Path) -> str:
    return wheel.name.split("-")[0].replace("_", "-")


def test_wheel_re_exports(wheel: Path, tmp_path: Path) -> None:
    """Unpacked as pip does, in a fresh process: Stepwell's own objects, beside the framework."""
    module, origin, framework = MODULES[project_of(wheel)]
    pytest.importorskip(framework, reason=f"needs {framework}, which is not installed")
    # Not from the zip itself: Python finds no shared folders in one.
    zipfile.ZipFile(wheel).extractall(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", CHECK, str(tmp_path), module, origin],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Cascade")


def test_wheel_holds_its_module_and_no_more(wheel: Path) -> None:
    """One typed module; no `__init__` in a folder that other packages share."""
    module = MODULES[project_of(wheel)][0].replace(".", "/")
    files = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert files == {f"{module}/__init__.py", f"{module}/py.typed"}


def test_project_agrees_with_stepwell(wheel: Path) -> None:
    """Its version is Stepwell's, which it needs with the right extra; LlamaHub finds the module."""
    name = project_of(wheel)
    module, origin, _ = MODULES[name]
    whole = tomllib.loads((PACKAGES / name / "pyproject.toml").read_text(encoding="utf-8"))
    ours = tomllib.loads((PACKAGES.parent / "pyproject.toml").read_text(encoding="utf-8"))
    version = ours["project"]["version"]
    assert whole["project"]["version"] == version
    (need,) = whole["project"]["dependencies"]
    found = re.fullmatch(r"stepwell\[(.+)\]>=(.+),<.+", need)
    assert found is not None
    assert found[2] == version
    assert found[1] in ours["project"]["optional-dependencies"]
    assert found[1].replace("-", "_") == origin.split(".")[1]
    if "llama" in name:
        assert whole["tool"]["llamahub"]["import_path"] == module
        exported = (PACKAGES / name / module.replace(".", "/") / "__init__.py").read_text()
        assert all(each in exported for each in whole["tool"]["llamahub"]["class_authors"])
