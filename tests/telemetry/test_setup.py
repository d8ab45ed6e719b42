"""When spans and metrics are made, in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SEARCH = """
import logging, sys
logging.basicConfig(format="%(message)s")
from stepwell import Cascade, Document, TopK
def search():
    assert Cascade([TopK(1)]).rank("what?", [Document("a", "x")]).ids == ["a"]
"""
KEEP = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
kept = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(kept))
trace.set_tracer_provider(provider)
"""


def run(code: str, **env: str) -> tuple[str, str]:
    """What a new process prints and says."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **env},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr.strip()


def test_neither_importing_nor_searching_loads_the_api() -> None:
    """Where the program uses no OpenTelemetry, nothing of it is imported."""
    said, _ = run(
        SEARCH
        + "import stepwell.telemetry\nsearch()\n"
        + "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    assert said == "[]"


def test_without_the_api_everything_works() -> None:
    """A search and its signals, where `opentelemetry` cannot be imported at all."""
    said = run(
        "import sys\nsys.modules['opentelemetry'] = None\n"
        + SEARCH
        + "search()\nfrom stepwell.telemetry import rank_biased_overlap, signals\n"
        + "print(signals(Cascade([TopK(1)]).rank('q', ['a'])).recall_ranks)"
    )
    assert said == ("(1,)", "")


@pytest.mark.parametrize("part", ["opentelemetry.metrics", "opentelemetry.context"])
def test_a_broken_api_is_said_once_and_does_no_harm(part: str) -> None:
    """An API of which a part is missing is not used; one warning says so."""
    said = run(
        "import sys, types\nsys.modules['opentelemetry.trace'] = types.ModuleType('x')\n"
        + f"sys.modules[{part!r}] = None\n{SEARCH}search()\nsearch()\nprint('done')"
    )
    assert said[0] == "done"
    assert said[1].count("OpenTelemetry is not used") == 1


def test_the_api_alone_is_enough() -> None:
    """With the API and no SDK, a search works and nothing is kept."""
    assert run("import opentelemetry.trace\n" + SEARCH + "search()") == ("", "")


def test_a_provider_that_is_set_later_is_used_from_then_on() -> None:
    """A program may search before it sets up its SDK."""
    code = "import opentelemetry.trace, opentelemetry.metrics\n" + SEARCH + "search()\n"
    code += KEEP + "search()\nprint(*[span.name for span in kept.get_finished_spans()])"
    assert run(code)[0] == "stepwell.stage top-k stepwell.cascade"


def test_a_provider_named_in_the_environment_is_used() -> None:
    """The API loads an SDK that the environment names, though the program loads none."""
    code = SEARCH + "search()\nprint('opentelemetry.sdk.trace' in sys.modules)"
    assert run(code, OTEL_PYTHON_TRACER_PROVIDER="sdk_tracer_provider")[0] == "True"
    assert run(code)[0] == "False"


@pytest.mark.parametrize(
    ("value", "told"), [("1", True), ("true", True), ("0", False), ("", False)]
)
def test_texts_are_switched_on_by_the_environment(value: str, told: bool) -> None:
    """One variable puts the query into spans; without it there is none."""
    code = KEEP + SEARCH + "search()\nspan = kept.get_finished_spans()[-1]\n"
    code += "print(span.attributes.get('gen_ai.retrieval.query.text'))"
    said, _ = run(code, STEPWELL_TELEMETRY_TEXT=value)
    assert said == ("what?" if told else "None")
