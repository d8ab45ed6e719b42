"""The page, the dashboard and the alerts name what is really exposed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from stepwell.telemetry.metrics import COUNTERS, HISTOGRAMS
from tests.telemetry import traffic
from tests.telemetry.conftest import providers

DOCS = Path(__file__).parents[2] / "docs"
DASHBOARD = json.loads((DOCS / "grafana" / "stepwell.json").read_text(encoding="utf-8"))
ALERTS = yaml.safe_load((DOCS / "grafana" / "alerts.yaml").read_text(encoding="utf-8"))
PAGE = (DOCS / "operate.md").read_text(encoding="utf-8")
VARIABLES = {"$__rate_interval": "5m", "$cascade": ".*"}

Exposed = dict[str, list[dict[str, str]]]


@pytest.fixture(scope="module")
def exposed() -> Iterator[Exposed]:
    """The labels of each sample that Prometheus reads after real traffic, by its name."""
    pytest.importorskip("tenacity", reason="the extra remote is not installed")
    registry = CollectorRegistry()
    meter = MeterProvider([PrometheusMetricReader(registry=registry)])
    providers(None, meter)
    traffic.run()
    found: Exposed = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    yield found
    meter.shutdown()
    providers(None, None)


def panels() -> dict[str, str]:
    queries = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", ())
    }
    for variable, value in VARIABLES.items():
        queries = {name: query.replace(variable, value) for name, query in queries.items()}
    return queries


def rules() -> dict[str, str]:
    return {rule["alert"]: rule["expr"] for group in ALERTS["groups"] for rule in group["rules"]}


def blocks() -> dict[str, str]:
    """The PromQL of the page."""
    found = re.findall(r"```promql\n(.*?)```", PAGE, flags=re.DOTALL)
    return {f"block {at}": text for at, text in enumerate(found)}


QUERIES = {**panels(), **rules(), **blocks()}


def selectors(node: Any) -> list[Any]:
    """Each series that an expression names."""
    if isinstance(node, promql_parser.VectorSelector):
        return [node]
    parts = (getattr(node, name, None) for name in ("expr", "lhs", "rhs", "vector_selector"))
    inside = [part for part in (*parts, *(getattr(node, "args", None) or ())) if part is not None]
    return [each for part in inside for each in selectors(part)]


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_finds_what_is_exposed(name: str, exposed: Exposed) -> None:
    """It is PromQL, and each series in it, with these labels and values, came out of traffic."""
    found = selectors(promql_parser.parse(QUERIES[name]))
    assert found
    for selector in found:
        assert selector.name in exposed, selector.name
        series = exposed[selector.name]
        for matcher in selector.matchers.matchers:
            assert any(matcher.name in labels for labels in series), matcher.name
            if matcher.op == promql_parser.MatchOp.Equal and matcher.value:
                values = {labels.get(matcher.name) for labels in series}
                assert matcher.value in values, (selector.name, matcher.name)


@pytest.mark.parametrize("name", QUERIES)
def test_what_a_query_is_grouped_by_is_a_label(name: str, exposed: Exposed) -> None:
    """Each label in `by (...)` is one of the series inside."""
    query = QUERIES[name]
    labels = {
        label
        for group in re.findall(r"(?:by|on) \(([^)]*)\)", query)
        for label in re.split(r",\s*", group)
    }
    there = {
        label
        for selector in selectors(promql_parser.parse(query))
        for series in exposed[selector.name]
        for label in series
    }
    assert labels <= there


def test_every_instrument_is_exposed_shown_and_explained(exposed: Exposed) -> None:
    """After traffic each one has a series, a panel, and a line of the page."""
    shown = " ".join(panels().values())
    for name in (*HISTOGRAMS, *COUNTERS):
        start = f"stepwell_{name.replace('.', '_')}"
        assert any(sample.startswith(start) for sample in exposed), name
        assert start in shown, name
        assert f"`stepwell.{name}`" in PAGE, name


def test_the_page_names_nothing_else(exposed: Exposed) -> None:
    """Each metric and each attribute in the page exists."""
    known = {f"stepwell.{name}" for name in (*HISTOGRAMS, *COUNTERS)}
    labels = {label for series in exposed.values() for each in series for label in each}
    for name in re.findall(
        r"`(stepwell\.(?:cascade|stage|signal|cache|remote|shadow)\.[\w.]+)`", PAGE
    ):
        assert name in known or name.replace(".", "_") in labels, name
    for name in re.findall(r"\b(stepwell_[a-z_]+)\b", PAGE):
        assert name in exposed or name in labels, name


def test_alerts_are_whole() -> None:
    """Each has a name of its own, a severity, a summary, and leads to a heading of the page."""
    found = [rule for group in ALERTS["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in found}) == len(found)
    headings = re.findall(r"^#+ (.+)$", PAGE, flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}
    for rule in found:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert page == "docs/operate.md"
        assert anchor in anchors, anchor
        assert rule["alert"] in PAGE
        if "for" in rule:
            promql_parser.parse_duration(rule["for"])


def test_the_dashboard_can_be_imported() -> None:
    """Panels have ids, places that do not overlap, a description, and the chosen data source."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert at["x"] + at["w"] <= 24
        assert not cells & taken
        taken |= cells
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["datasource"]["uid"] == "${datasource}"
    names = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert names == {"datasource", "cascade"}
