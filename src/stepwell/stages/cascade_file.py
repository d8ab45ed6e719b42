"""A cascade as a TOML file: its stages and their options, without corpus, weights or keys.

```toml
version = 1

[[stage]]
type = "hybrid"
k = 1000

[[stage.stages]]
type = "bm25"

[[stage.stages]]
type = "dense"

[[stage]]
type = "cross-encoder"
blend = 0.4
k = 10
```

An option has the name of the constructor's argument; one that is left out has its default. TOML has
no null: where an option may be None, the string "none" stands for it. The corpus is given when the
file is read.
"""

from __future__ import annotations

import inspect
import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepwell.calibrator import Calibrator
from stepwell.cascade import Cascade
from stepwell.depth import Depth
from stepwell.errors import ConfigurationError, StepwellError
from stepwell.refusal import nearest
from stepwell.remote import RemoteReranker
from stepwell.stage import Recalls, Stage
from stepwell.stages.bi_encoder import BiEncoder
from stepwell.stages.bm25 import BM25
from stepwell.stages.cross_encoder import CrossEncoder
from stepwell.stages.dedupe import Dedupe
from stepwell.stages.dense import Dense
from stepwell.stages.guarded import Guarded
from stepwell.stages.hybrid import Hybrid
from stepwell.stages.keyword import Keyword
from stepwell.stages.late_interaction import LateInteraction
from stepwell.stages.min_score import MinScore
from stepwell.stages.mmr import MMR
from stepwell.stages.parents import Parents
from stepwell.stages.probability import Probability
from stepwell.stages.top_k import TopK

if TYPE_CHECKING:
    from stepwell.corpus.searchable import Searchable

VERSION = 1
TYPES: dict[str, type[Any]] = {
    "bm25": BM25,
    "keyword": Keyword,
    "dense": Dense,
    "hybrid": Hybrid,
    "bi-encoder": BiEncoder,
    "late-interaction": LateInteraction,
    "cross-encoder": CrossEncoder,
    "top-k": TopK,
    "min-score": MinScore,
    "dedupe": Dedupe,
    "mmr": MMR,
    "parents": Parents,
    "probability": Probability,
    "guarded": Guarded,
    "cascade": Cascade,
}
OWN = "own"
NONE = "none"
# What stages are given when a file is read, all arguments that it does not hold, and those that are
# stages themselves.
GIVEN = ("corpus", "source")
ABSENT = (*GIVEN, "shadow")
INSIDE = ("stage", "fallback")
MODELS = ("model", "encoder")
# What is secret, and not written.
SECRET = ("key", "headers")


# -- writing ---------------------------------------------------------------------------------


def write_cascade(cascade: Cascade, path: str | Path, *, about: str = "") -> None:
    """Write a cascade file, replacing the one that is there.

    Args:
        cascade: Of stages whose options are plain values. Stages of your own are written by name
            and must be given to `read_cascade`.
        path: Usually ``*.toml``.
        about: A comment at the top, such as the command that made it.

    Raises:
        ConfigurationError: A stage holds an object that has no name to write.
    """
    import tomlkit

    top = _chosen(cascade, Cascade)
    stages = top.pop("stages")
    comment = "".join(f"# {_plain(line)}\n" for line in about.splitlines())
    _put(
        comment + tomlkit.dumps({"version": VERSION, **top, "stage": stages}), Path(path).resolve()
    )


def _plain(line: str) -> str:
    """A line of a comment: TOML has no control characters there."""
    return "".join(each if each.isprintable() else " " for each in line)


def _put(text: str, path: Path) -> None:
    """Write a file whole or not at all."""
    made = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        made.write_bytes(text.encode())
        os.replace(made, path)
    except UnicodeEncodeError as error:
        raise ConfigurationError(
            f"{text[error.start]!r} in an option is half a character, which a file cannot hold"
        ) from error
    finally:
        made.unlink(missing_ok=True)


def _table(stage: Stage) -> dict[str, Any]:
    kind = next((name for name, made in TYPES.items() if made is type(stage)), None)
    if kind is None:
        return {"type": OWN, "name": stage.name}
    return {"type": kind, **_chosen(stage, TYPES[kind])}


def _chosen(stage: Any, kind: type[Any]) -> dict[str, Any]:
    """The options that are not the default."""
    table: dict[str, Any] = {}
    for option in _options(kind).values():
        value = _value(stage, option.name)
        if value is option.default or value == option.default:
            continue
        if value == NONE and not _is_text(option):
            raise ConfigurationError(
                f"stage {stage.name!r}: its {option.name} is {NONE!r}, which a file reads as None"
            )
        table[option.name] = NONE if value is None else value
    return table


def _value(stage: Any, name: str) -> Any:
    """The value of an option as TOML can hold it."""
    if name == "stages":
        return [_table(each) for each in getattr(stage, "arms", None) or stage.stages]
    if name == "weights":
        return None if set(stage.weights) == {1.0} else list(stage.weights)
    value = stage.given if name in MODELS else getattr(stage, name)
    if isinstance(value, RemoteReranker):
        return _remote(value)
    if isinstance(value, (Calibrator, Depth)):
        return value.to_dict()
    if name in INSIDE:
        return None if value is None else _table(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value) or None
    if not (value is None or isinstance(value, (str, int, float, bool))):
        raise ConfigurationError(
            f"stage {stage.name!r}: its {name} is a {type(value).__name__}, which a file cannot "
            "hold; give the stage a model by name, or build this cascade in code"
        )
    return value


def _remote(scorer: RemoteReranker) -> dict[str, Any]:
    found = inspect.signature(RemoteReranker).parameters
    values = {name: getattr(scorer, name) for name in found if name not in SECRET}
    if scorer.api == "custom":
        raise ConfigurationError(f"{scorer!r} has a shape of its own, which a file cannot hold")
    default = {name: option.default for name, option in found.items()}
    return {name: value for name, value in values.items() if value not in (None, default[name])}


# -- reading ---------------------------------------------------------------------------------


def read_cascade(
    path: str | Path, corpus: Searchable | None = None, *, stages: Iterable[Stage] = ()
) -> Cascade:
    """Read a cascade file.

    Args:
        path: As `write_cascade` made it, or by hand.
        corpus: What recall stages search; without one the cascade ranks documents brought to it.
        stages: Those of your own that the file names.

    Raises:
        ConfigurationError: The file is missing, is no TOML, is of a newer version, or holds an
            option that its stage does not have; the message says where.
    """
    file = Path(path)
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} is no TOML: {error}") from error
    version = found.pop("version", None)
    if version != VERSION:
        raise ConfigurationError(
            f"{file} is a cascade file of version {version!r}; this Stepwell reads {VERSION}"
        )
    made = _Reader(corpus, {stage.name: stage for stage in stages})
    try:
        if "stages" in found:
            raise ConfigurationError("the cascade has no option 'stages'; did you mean [[stage]]?")
        found["stages"] = found.pop("stage", [])
        return made.cascade(found, "the cascade")
    except ConfigurationError as error:
        raise ConfigurationError(f"{file}: {error}") from error


def check_recall(cascade: Cascade, path: str | Path, /) -> None:
    """Refuse a cascade that could only fail at its first search.

    Raises:
        ConfigurationError: It begins with a recall stage that was given no corpus.
    """
    if blind := _without_corpus(cascade.stages[0]):
        raise ConfigurationError(
            f"{path} recalls from a corpus with {', '.join(blind)}: give it, "
            "Cascade.load(path, corpus), or None to rank documents that you bring"
        )


def _without_corpus(stage: Any) -> list[str]:
    """The recall stages that have no corpus, of those that a query would meet first."""
    first = [getattr(stage, "stage", None), *getattr(stage, "stages", ())[:1]]
    inside = [each for each in (*getattr(stage, "arms", ()), *first) if each is not None]
    if inside:
        return [name for each in inside for name in _without_corpus(each)]
    lacks = isinstance(stage, Recalls) and getattr(stage, "corpus", stage) is None
    return [stage.name] if lacks else []


class _Reader:
    """Makes stages of tables, over one corpus."""

    def __init__(self, corpus: Searchable | None, own: Mapping[str, Stage]) -> None:
        self._corpus, self._own = corpus, own

    def cascade(self, table: dict[str, Any], where: str) -> Cascade:
        cascade: Cascade = self._made(Cascade, table, where)
        return cascade

    def stage(self, table: Any, where: str) -> Stage:
        if not isinstance(table, dict) or not isinstance(table.get("type"), str):
            raise ConfigurationError(f'{where} has no type; write type = "bm25", for example')
        table = dict(table)
        kind = table.pop("type")
        if kind == OWN:
            return self._owned(table, where)
        if kind not in TYPES:
            known = _meant(kind, TYPES)
            raise ConfigurationError(f"{where}: there is no type {kind!r}; {known}")
        made: Stage = self._made(TYPES[kind], table, f"{where} ({kind})")
        return made

    def _owned(self, table: dict[str, Any], where: str) -> Stage:
        name = str(table.get("name"))
        if name not in self._own:
            raise ConfigurationError(
                f"{where} is your own stage {name!r}: pass it with stages=, to Cascade.load"
            )
        return self._own[name]

    def _made(self, kind: type[Any], table: dict[str, Any], where: str) -> Any:
        options = _options(kind)
        for name in table:
            if name not in options:
                raise ConfigurationError(f"{where} has no option {name!r}; {_meant(name, options)}")
        values = {
            name: None
            if value == NONE and not _is_text(options[name])
            else self._read(name, value, where)
            for name, value in table.items()
        }
        for name in GIVEN:
            if self._corpus is not None and name in inspect.signature(kind).parameters:
                values[name] = self._corpus
        lacking = [
            option.name
            for option in options.values()
            if option.default is option.empty and option.name not in values
        ]
        needed = inspect.signature(kind).parameters.get("corpus")
        if needed is not None and needed.default is needed.empty and self._corpus is None:
            raise ConfigurationError(f"{where} needs corpus: Cascade.load(path, corpus)")
        if lacking:
            raise ConfigurationError(f"{where} needs {' and '.join(lacking)}")
        try:
            return kind(**values)
        except StepwellError as error:
            raise ConfigurationError(f"{where}: {error}") from error
        except TypeError as error:
            raise ConfigurationError(f"{where}: {error}") from error

    def _read(self, name: str, value: Any, where: str) -> Any:
        if name == "stages":
            if not isinstance(value, list):
                raise ConfigurationError(f"{where}: stages must be tables, [[stage]]")
            return [self.stage(each, f"stage {at}") for at, each in enumerate(value, start=1)]
        if name == "calibrator" and isinstance(value, dict):
            return _calibrator(value, where)
        if name == "depth" and isinstance(value, dict):
            return Depth.of(value)
        if name == "model" and isinstance(value, dict):
            return self._made(RemoteReranker, value, f"{where}, model")
        return self.stage(value, f"{where}, {name}") if name in INSIDE else value


def _calibrator(table: dict[str, Any], where: str) -> Calibrator:
    try:
        return Calibrator.from_dict(table)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error


def _options(kind: type[Any]) -> dict[str, inspect.Parameter]:
    """What a file may hold of a stage's constructor."""
    found = inspect.signature(kind).parameters
    return {name: option for name, option in found.items() if name not in ABSENT}


def _is_text(option: inspect.Parameter) -> bool:
    """Whether it is always a string, so that "none" in a file is this word."""
    return option.annotation in (str, "str")


def _meant(name: str, known: Iterable[str]) -> str:
    near = nearest(name, known)
    return f"did you mean {near!r}?" if near else f"there are {', '.join(known)}"
