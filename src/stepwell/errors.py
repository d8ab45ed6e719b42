"""Every error that Stepwell raises on purpose.

```
StepwellError
├ ConfigurationError (ValueError)   built wrong: k < 1, two stages of one name, an unknown model
├ MissingExtraError (ImportError)   .extra .module; the message is the pip line
├ InputError (ValueError)           called wrong: a query that is no string, an unknown operator
├ CorpusError                       the store: locked, damaged, of another version; says what to run
├ OverloadedError                   more asks for a model than may wait; ask again later
├ ModelError (ValueError)           a model returned what cannot be used; .model
├ RemoteError                       a server refused or failed; .api .status
└ StageError                        a stage failed; .stage .position .trace, cause chained
   └ ContractError                  a stage broke a rule; says which
```
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepwell.candidates import Candidates
    from stepwell.trace import Trace


class StepwellError(Exception):
    """The root: `except StepwellError` catches all that Stepwell raises on purpose."""


class ConfigurationError(StepwellError, ValueError):
    """Something was built wrong, and would be wrong for every query."""


class MissingExtraError(StepwellError, ImportError):
    """An optional dependency is not installed.

    Attributes:
        module: The module that could not be imported.
        extra: The extra of Stepwell that brings it.
    """

    def __init__(self, *, module: str, extra: str) -> None:
        self.module = module
        self.extra = extra
        super().__init__(f"{module!r} is not installed; run: pip install 'stepwell[{extra}]'")

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_missing, (self.module, self.extra)


def _rebuild_missing(module: str, extra: str) -> MissingExtraError:
    return MissingExtraError(module=module, extra=extra)


class InputError(StepwellError, ValueError):
    """A call was made with a value that cannot be honoured."""


class CorpusError(StepwellError):
    """The store is locked, damaged, of another version, or not a corpus at all."""


class OverloadedError(StepwellError):
    """More work waits for a model than may; what was asked was not begun."""


class ModelError(StepwellError, ValueError):
    """A model returned what cannot be used: NaN, too few scores, no numbers at all.

    In a cascade this is the failure of one stage at one query; the message quotes nothing that the
    model read or wrote.

    Attributes:
        model: Its name.
    """

    def __init__(self, message: str, *, model: str = "") -> None:
        super().__init__(message)
        self.model = model


class RemoteError(StepwellError):
    """A server that scores passages refused, or failed too often.

    Attributes:
        api: Which one.
        status: Its HTTP status, 0 where it did not answer.
        partial: What the stage had scored before, for a cascade that lets the failure pass.
    """

    def __init__(
        self, message: str, *, api: str = "", status: int = 0, partial: Candidates | None = None
    ) -> None:
        super().__init__(message)
        self.api = api
        self.status = status
        self.partial = partial


class StageError(StepwellError):
    """A stage failed while a query ran; the cause is chained.

    Attributes:
        stage: Name of the stage.
        position: Its place in the cascade, from 0.
        trace: What had happened up to and including the failure.
    """

    def __init__(
        self, message: str, *, stage: str = "", position: int = -1, trace: Trace | None = None
    ) -> None:
        super().__init__(message)
        self.stage = stage
        self.position = position
        self.trace = trace


class ContractError(StageError):
    """A stage broke a rule of the cascade: invented an id, changed the query, gave NaN."""


def kind_of(value: object) -> str:
    """The class of a value, with its module unless it is Python's own."""
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def import_extra(module: str, *, extra: str) -> ModuleType:
    """Import an optional dependency, or say which extra brings it.

    Args:
        module: Dotted name of the module.
        extra: The extra of Stepwell that installs it.

    Raises:
        MissingExtraError: The module's distribution is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        # A broken dependency inside an installed extra is another fault and must stay visible.
        if error.name is None or not (module + ".").startswith(error.name + "."):
            raise
        raise MissingExtraError(module=module, extra=extra) from error
