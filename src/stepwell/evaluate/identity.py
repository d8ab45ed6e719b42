"""What the answers of a system depend on, so that those of another are never taken for its own."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import astuple
from hashlib import sha256
from pathlib import Path
from typing import Any

from stepwell.calibrator import Calibrator
from stepwell.cascade import Cascade
from stepwell.corpus import Corpus
from stepwell.depth import Depth
from stepwell.errors import InputError, kind_of
from stepwell.filters import Filter
from stepwell.remote import RemoteReranker
from stepwell.stage import Stage
from stepwell.stages.cascade_file import ABSENT, INSIDE, MODELS, SECRET, TYPES

_PLAIN = (str, int, float, bool, type(None))


def identity(system: Any, *, key: str | None = None) -> str:
    """A digest of all that the answers of a system depend on.

    Of a cascade: every option of every stage, the names of the models, and what its corpora hold.

    Args:
        system: A cascade, or anything else that answers.
        key: Stands for what cannot be looked into, such as a function.

    Raises:
        InputError: There is such a part, and no key.
    """
    if not isinstance(system, Cascade):
        _need(key, f"a {kind_of(system)}")
        return _digest([kind_of(system), key])
    corpora: dict[int, Corpus] = {}
    for stage in _all(system.stages):
        corpus = getattr(stage, "corpus", None)
        if isinstance(corpus, Corpus):
            corpora[id(corpus)] = corpus
        elif corpus is not None:
            _need(key, f"the {kind_of(corpus)} that stage {stage.name!r} searches")
    held = [_state(each) for each in corpora.values()]
    return _digest([_options(system, key), held, key])


def _need(key: str | None, what: str) -> None:
    if key is None:
        raise InputError(
            f"{what} may have changed since answers were kept, and nothing here can tell: give "
            "key=, a text that you change whenever it does"
        )


def _digest(parts: list[Any]) -> str:
    return sha256(json.dumps(parts, sort_keys=True).encode("utf-8", "replace")).hexdigest()


def _all(stages: Iterable[Stage]) -> Iterator[Stage]:
    """Every stage, those inside others too."""
    for stage in stages:
        yield stage
        one = [getattr(stage, name, None) for name in ("stage", "fallback")]
        inside = [*getattr(stage, "arms", ()), *getattr(stage, "stages", ())]
        yield from _all([*inside, *(each for each in one if each is not None)])


def _options(stage: Any, key: str | None) -> dict[str, Any]:
    """Every argument of the constructor; for a type of one's own its name, and the key for it."""
    kind = type(stage)
    found: dict[str, Any] = {"type": f"{kind.__module__}.{kind.__qualname__}", "name": stage.name}
    if kind not in TYPES.values():
        _need(key, f"stage {stage.name!r}")
        return found
    for name in inspect.signature(kind).parameters.keys() - ABSENT:
        found[name] = _value(stage, name, key)
    return found


def _value(stage: Any, name: str, key: str | None) -> Any:
    if name == "stages":
        return [_options(each, key) for each in getattr(stage, "arms", None) or stage.stages]
    value = stage.given if name in MODELS else getattr(stage, name)
    if isinstance(value, _PLAIN):
        return value
    if name in INSIDE:
        return _options(value, key)
    if isinstance(value, RemoteReranker) and value.api != "custom":
        told = inspect.signature(RemoteReranker).parameters.keys() - SECRET
        return {each: str(getattr(value, each)) for each in told}
    if isinstance(value, (Calibrator, Depth)):
        return value.to_dict()
    if isinstance(value, (Filter, Mapping, tuple, list, Path)):
        return repr(value)
    _need(key, f"the {name} of stage {stage.name!r}, a {kind_of(value)},")
    return str(getattr(value, "name", kind_of(value)))


def _state(corpus: Corpus) -> list[Any]:
    """Where a corpus is, and what it holds."""
    held = sha256()
    with closing(corpus.pinned()) as snapshot, snapshot.reading() as connection:
        for id, text in connection.execute("SELECT id, hash FROM documents ORDER BY row"):
            # An id may hold anything, so its length tells where it ends.
            name = id.encode("utf-8", "surrogatepass")
            held.update(b"%d " % len(name) + name + text)
        state = astuple(snapshot.state)
    encoder = corpus.encoder.name if corpus.encoder else None
    return [str(corpus.path.resolve()), corpus.analyzer, encoder, state, held.hexdigest()]
