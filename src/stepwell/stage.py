"""What a stage is, and the optional abilities that one may have."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol, SupportsIndex, overload, runtime_checkable

from stepwell.candidates import Candidates
from stepwell.errors import ConfigurationError
from stepwell.meaning import Meaning


@runtime_checkable
class Stage(Protocol):
    """One step of a cascade: candidates in, candidates out.

    A recall stage fills the set that is `fresh`; a re-scoring stage reorders the set before it; a
    shaping stage cuts, merges or reorders. A stage never changes the query nor what it was given,
    returns finite scores that never increase along the list, and only ids that it was given (see
    `Expands`).
    """

    @property
    def name(self) -> str:
        """Unique within a cascade; its scores are kept under it."""
        ...

    def run(self, candidates: Candidates, /) -> Candidates:
        """Do the work for one query."""
        ...


@runtime_checkable
class AsyncStage(Protocol):
    """A stage that waits without a thread; one without goes to a thread."""

    async def arun(self, candidates: Candidates, /) -> Candidates:
        """`run`, awaited: the same result."""
        ...


@runtime_checkable
class BatchStage(Protocol):
    """A stage that is cheaper for many queries at once."""

    def run_many(self, many: Sequence[Candidates], /) -> list[Candidates]:
        """`run` for each, in order: the same results."""
        ...


@runtime_checkable
class Expands(Protocol):
    """A stage that may return ids that it was not given, such as parents of passages."""

    expands: bool


@runtime_checkable
class Recalls(Protocol):
    """A stage that finds candidates when the set is fresh.

    Given a set that is not fresh it scores that set, unless `recall_only` is true: then it is
    skipped where documents are brought (`Cascade.rank`).
    """

    recall_only: bool


@runtime_checkable
class Computes(Protocol):
    """A stage whose time is this machine's, not another's that it waits for.

    Awaited, no more of them run at once than there are cores; others each get a thread.
    """

    computes: bool


@runtime_checkable
class Decides(Protocol):
    """A stage whose verdict is final: what it drops, or never saw, does not come back as back-fill.

    True of thresholds, filters, de-duplication and an explicit `TopK`; not of a depth.
    """

    decides: bool


@runtime_checkable
class Keeps(Protocol):
    """A stage that passes on the first k only; None for all.

    Where it is skipped or fails, as many of the order so far go on.
    """

    @property
    def k(self) -> int | None:
        """How many at most."""
        ...


@runtime_checkable
class Guards(Protocol):
    """A stage that runs even when the deadline is over, and whose failure is raised by default.

    The answer would be wrong without it.

    True of filters, thresholds and cuts, which take no time; not of what only improves an order.
    """

    guards: bool


@runtime_checkable
class Scores(Protocol):
    """A stage that gives scores and says what they mean, see `stepwell.meaning`.

    It is the kind of its own column; what a blend makes of it is relative.
    """

    @property
    def kind(self) -> Meaning | None:
        """None where it cannot know."""
        ...


@runtime_checkable
class Follows(Protocol):
    """A stage that is right only after certain others."""

    def check_after(self, stages: Sequence[Stage], /) -> None:
        """Refuse, with a `ConfigurationError`, to come after these, as a cascade is built."""
        ...


class FunctionStage:
    """A function of candidates as a stage; made by `@stage`."""

    def __init__(
        self,
        function: Callable[[Candidates], Candidates],
        *,
        name: str | None = None,
        expands: bool = False,
        decides: bool = True,
        guards: bool | None = None,
    ) -> None:
        if not callable(function):
            raise ConfigurationError(f"a stage is made from a function, not {function!r}")
        self.function = function
        self.name: str = name or str(getattr(function, "__name__", type(function).__name__))
        self.expands = expands
        self.decides = decides
        self.guards = decides if guards is None else guards
        self.__doc__ = function.__doc__
        self.__module__ = str(getattr(function, "__module__", __name__))

    def run(self, candidates: Candidates, /) -> Candidates:
        """Call the function."""
        return self.function(candidates)

    def __repr__(self) -> str:
        return f"<stage {self.name}>"

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        # Where `@stage` put this object in the function's place, it pickles as that name.
        place = sys.modules.get(self.__module__)
        name = getattr(self.function, "__qualname__", "")
        return name if getattr(place, name, None) is self else super().__reduce_ex__(protocol)


@overload
def stage(function: Callable[[Candidates], Candidates], /) -> FunctionStage: ...
@overload
def stage(
    *,
    name: str | None = None,
    expands: bool = False,
    decides: bool = True,
    guards: bool | None = None,
) -> Callable[[Callable[[Candidates], Candidates]], FunctionStage]: ...


def stage(function: Callable[[Candidates], Candidates] | None = None, /, **options: Any) -> Any:
    """Make a stage from a function.

    Args:
        function: Takes candidates and returns candidates.
        **options: `name` (default: the function's), `expands` (it may return ids it was not
            given), `decides` (what it drops stays dropped even when more documents are asked for),
            `guards` (it runs even when the deadline is over, and its failure is raised; by default
            as `decides`).

    Example:
        >>> @stage
        ... def first_three(candidates):
        ...     return candidates.top(3)
        >>> first_three.name
        'first_three'
    """
    if function is not None:
        return FunctionStage(function)
    return lambda function: FunctionStage(function, **options)
