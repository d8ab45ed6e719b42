from __future__ import annotations

import errno
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from stepwell.errors import ConfigurationError
from stepwell.models import store
from stepwell.models.store import MANIFEST, cache_root, fetch


class Maker:
    """Fills a folder and counts how often it was asked to."""

    def __init__(self, text: str = "weights") -> None:
        self.text, self.calls = text, 0

    def __call__(self, folder: Path) -> dict[str, Any]:
        self.calls += 1
        (folder / "model.bin").write_text(self.text)
        return {"made": self.calls}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STEPWELL_CACHE", str(tmp_path / "cache"))
    return cache_root()


def test_an_entry_is_made_once() -> None:
    """The second asking reads what the first one made, facts included."""
    make = Maker()
    first, second = fetch("m", make), fetch("m", make)
    assert make.calls == 1
    assert first == second
    assert (second.folder / "model.bin").read_text() == "weights"


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "no manifest", "bad manifest"])
def test_a_damaged_entry_is_made_again(damage: str, root: Path) -> None:
    """A file cut short, changed or missing, or a manifest that is no JSON, is found and redone."""
    make = Maker()
    folder = fetch("m", make).folder
    files = {
        "cut": ("model.bin", "weig"),
        "changed": ("model.bin", "weighty"[:7]),
        "bad manifest": (MANIFEST, '{"facts": '),
    }
    if damage in files:
        name, text = files[damage]
        (folder / name).write_text(text)
    else:
        (folder / ("model.bin" if damage == "gone" else MANIFEST)).unlink()
    entry = fetch("m", make)
    assert make.calls == 2
    assert (entry.folder / "model.bin").read_text() == "weights"
    assert sorted(path.name for path in root.iterdir() if path.is_dir()) == ["m"]


def test_what_a_dead_process_left_is_no_entry(root: Path) -> None:
    """A half-filled folder of a killed process is not read, and is cleared away."""
    (root / ".m.0badc0de").mkdir(parents=True)
    (root / ".m.0badc0de" / "model.bin").write_text("wei")
    fetch("m", Maker())
    assert not (root / ".m.0badc0de").exists()


def test_a_maker_that_fails_leaves_nothing(root: Path) -> None:
    """After an error the folder is as before, and the next asking makes the entry."""

    def broken(folder: Path) -> dict[str, Any]:
        (folder / "model.bin").write_text("half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fetch("m", broken)
    assert [path for path in root.iterdir() if path.is_dir()] == []
    assert fetch("m", Maker()).facts == {"made": 1}


def test_a_full_disk_is_said_so() -> None:
    """An error of the file system names the cache, and how to choose another."""

    def full(folder: Path) -> dict[str, Any]:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ConfigurationError, match=r"No space left.*STEPWELL_CACHE"):
        fetch("m", full)


def test_an_entry_that_does_not_fit_is_made_again() -> None:
    """Facts that are out of date make a new entry in the old one's place."""
    make = Maker()
    fetch("m", make)
    assert fetch("m", make, fits=lambda facts: facts["made"] > 1).facts == {"made": 2}


def test_those_who_ask_together_share_one_making() -> None:
    """Eight threads that want one entry wait for one of them to make it."""
    calls = []
    here = threading.Barrier(8)

    def slow(folder: Path) -> dict[str, Any]:
        calls.append(folder)
        time.sleep(0.05)
        (folder / "model.bin").write_text("weights")
        return {}

    def ask(_: int) -> Path:
        here.wait()
        return fetch("m", slow).folder

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1
    assert len(calls) == 1


def test_a_folder_that_cannot_be_written_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the cache cannot be made, a temporary folder serves this process, with one warning."""
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("STEPWELL_CACHE", str(tmp_path / "file" / "cache"))
    make = Maker()
    with pytest.warns(UserWarning, match=r"cannot be written.*STEPWELL_CACHE"):
        entry = fetch("m", make)
    assert (entry.folder / "model.bin").read_text() == "weights"
    assert fetch("m", make) == entry
    assert make.calls == 1


def test_a_read_only_folder_is_still_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry of a cache that cannot be written is used, with no warning."""
    entry = fetch("m", Maker())
    if os.geteuid() == 0:
        # The owner of everything may write anywhere: the answer of the probe stands in.
        monkeypatch.setattr(store, "_writable", lambda root: False)
    else:
        root.chmod(0o555)
    try:
        assert fetch("m", Maker()) == entry
    finally:
        root.chmod(0o755)
