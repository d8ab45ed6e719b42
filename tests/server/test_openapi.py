"""The interface's own description, believed and tried."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx


def test_description_has_the_limits(locked: str, key: str) -> None:
    """Every path but the description's own is described, with limits, errors and the key."""
    document = httpx.get(f"{locked}/openapi.json", headers={"Authorization": f"Bearer {key}"})
    paths, schemas = document.json()["paths"], document.json()["components"]["schemas"]
    assert set(paths) == {
        "/v2/rerank",
        "/v1/rerank",
        "/rerank",
        "/search",
        "/trace",
        "/health",
        "/ready",
        "/metrics",
    }
    for path in ("/v2/rerank", "/v1/rerank", "/rerank", "/search"):
        assert {"200", "401", "408", "413", "422", "500", "503"} <= set(
            paths[path]["post"]["responses"]
        )
    assert schemas["RerankAsked"]["properties"]["documents"]["maxItems"] == 20
    assert schemas["SearchAsked"]["properties"]["k"]["maximum"] == 20
    for name in ("SearchAsked", "RerankAsked", "TextsAsked"):
        assert schemas[name]["additionalProperties"] is False
    assert "security" in paths["/search"]["post"]
    assert "security" not in paths["/health"]["get"]


def test_schemathesis_finds_nothing(locked: str, key: str, tmp_path: Path) -> None:
    """Requests made from the description, right and wrong ones, are answered as it says."""
    words = ["--checks", "all", "--max-examples", "25", "--seed", "9", "--workers", "1"]
    words += ["--header", f"Authorization: Bearer {key}", "--request-timeout", "60"]
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run", f"{locked}/openapi.json", *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
