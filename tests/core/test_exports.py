from __future__ import annotations

import json
import subprocess
import sys

import pytest

import stepwell

HEAVY = [
    "chromadb",
    "langchain_core",
    "llama_index",
    "mcp",
    "onnxruntime",
    "opentelemetry",
    "rank_bm25",
    "rich",
    "sentence_transformers",
    "tantivy",
    "tokenizers",
    "torch",
    "typer",
]


def fresh(code: str) -> list[str]:
    """The modules that a new process holds after running the code."""
    script = f"import json, sys\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_the_front_door_is_sorted_and_complete():
    """Every public name of the package is in `__all__`, and every name in `__all__` is there."""
    assert stepwell.__all__ == sorted(stepwell.__all__, key=_constants_first)
    missing = [name for name in stepwell.__all__ if not hasattr(stepwell, name)]
    assert missing == []
    exported = {
        name
        for name, value in vars(stepwell).items()
        if getattr(value, "__module__", "").startswith("stepwell") and not name.startswith("_")
    }
    assert exported <= set(stepwell.__all__)
    assert set(stepwell.__all__) <= set(dir(stepwell))


def test_every_exported_stage_is_at_the_front_door():
    from stepwell import stages

    classes = {name for name in stages.__all__ if isinstance(getattr(stages, name), type)}
    assert classes <= set(stepwell.__all__)
    assert stages.__all__ == sorted(stages.__all__, key=_constants_first)


def _constants_first(name: str) -> tuple[int, str]:
    kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
    return kind, name


def test_importing_stepwell_loads_no_framework_and_no_model_runtime():
    loaded = fresh("import stepwell")
    assert [name for name in HEAVY if name in loaded] == []


def test_importing_the_stages_loads_no_framework_and_no_model_runtime():
    """Nor does building those that need no corpus."""
    code = "import stepwell as sw\nsw.Cascade([sw.TopK(3), sw.MinScore(0.1), sw.Dedupe()])"
    loaded = fresh(f"{code}\nimport stepwell.stages, stepwell.models, stepwell.testing")
    assert [name for name in HEAVY if name in loaded] == []


def test_ranking_with_own_stages_needs_numpy_alone():
    code = (
        "import stepwell as sw\nassert sw.Cascade([sw.TopK(1)]).rank('q', ['a', 'b']).ids == ['0']"
    )
    third = {"numpy", "stepwell"}
    names = set(sys.stdlib_module_names) | third
    loaded = {name.split(".")[0] for name in fresh(code)} - {
        name.split(".")[0] for name in fresh("pass")
    }
    assert {name for name in loaded if not name.startswith("_")} <= names


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Nonsense"):
        stepwell.Nonsense  # noqa: B018
