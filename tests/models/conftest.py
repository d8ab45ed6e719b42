from __future__ import annotations

from pathlib import Path

import pytest

from tests.models import tiny


@pytest.fixture(scope="session")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder with a tiny cross-encoder of each form."""
    pytest.importorskip("transformers", reason="the extra sentence-transformers is not installed")
    root = tmp_path_factory.mktemp("cross-encoders")
    return {form: tiny.saved(root / form, form) for form in tiny.FORMS}


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that the tests of one run share, because filling it costs seconds."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cache(kept: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shared cache folder, made the one in use."""
    monkeypatch.setenv("STEPWELL_CACHE", str(kept))
    return kept
