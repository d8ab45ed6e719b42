from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from stepwell.models.registry import ModelKey, Registry


def test_loaded_once_for_all_threads() -> None:
    """Sixteen threads that ask for one model at once get the same one, loaded once."""
    registry, calls = Registry(), []

    def load() -> object:
        calls.append(threading.get_ident())
        time.sleep(0.02)
        return object()

    with ThreadPoolExecutor(16) as pool:
        models = list(pool.map(lambda _: registry.get(ModelKey("m"), load), range(16)))
    assert len(calls) == 1
    assert len({id(model) for model in models}) == 1


def test_key_tells_models_apart() -> None:
    """A differing revision, device, precision, length or task is another model."""
    registry = Registry()
    keys = [
        ModelKey("m"),
        ModelKey("m", revision="r"),
        ModelKey("m", device="cuda"),
        ModelKey("m", precision="int8"),
        ModelKey("m", length=128),
        ModelKey("m", task="score"),
    ]
    assert len({id(registry.get(key, object)) for key in keys}) == len(keys)
    assert registry.loaded() == keys


def test_failed_load_is_tried_again() -> None:
    """A load that fails leaves nothing behind; the next one may succeed."""
    registry = Registry()

    def fail() -> object:
        raise OSError("no file")

    with pytest.raises(OSError, match="no file"):
        registry.get(ModelKey("m"), fail)
    assert registry.loaded() == []
    assert registry.get(ModelKey("m"), lambda: "model") == "model"


def test_close_frees_one_or_all() -> None:
    """A closed model is loaded anew by the next who asks."""
    registry = Registry()
    for name in "ab":
        registry.get(ModelKey(name), object)
    registry.close(ModelKey("a"))
    assert registry.loaded() == [ModelKey("b")]
    registry.close()
    assert registry.loaded() == []
