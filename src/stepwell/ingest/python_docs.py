"""The documentation of the running interpreter's standard library, as documents."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
import warnings
from collections.abc import Collection, Iterator
from types import ModuleType
from typing import Any, Literal

from stepwell.documents import Document

Kind = Literal["module", "class", "function", "method"]
KINDS: tuple[Kind, ...] = ("module", "class", "function", "method")

_UNSAFE = ("antigravity", "this", "idlelib", "tkinter", "turtle", "turtledemo", "readline")
"""They open a browser, print, need a display or change the terminal when they are imported."""
_BESIDE = ("distutils", "encodings", "ensurepip", "lib2to3", "pydoc_data", "rlcompleter", "test")
"""They document little that one would look for."""
_ALIASED = ("posix", "nt", "posixpath", "ntpath", "genericpath")
"""What they hold is public elsewhere, in `os` and `os.path`."""

_SHORT = 12


class _Dots:
    def __repr__(self) -> str:
        return "..."


_ELLIPSIS = _Dots()


def python_docs(kinds: Collection[Kind] = KINDS) -> list[Document]:
    """Docstrings of the public modules, classes, functions and methods, one document each.

    The id is the qualified name, such as `json.dumps`; the text begins with it and the signature.
    Metadata: `module`, `kind` and `name`. A module that cannot be imported here is left out.

    Args:
        kinds: Which to take.

    Example:
        >>> docs = {document.id: document for document in python_docs(["function"])}
        >>> docs["shutil.rmtree"].metadata["module"]
        'shutil'
    """
    taken: dict[str, Document] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is on its way out says so when it is touched
        for name, kind, thing, module in _things(list(_modules())):
            doc = _doc(thing)
            if doc and kind in kinds and name not in taken:
                text = f"{name}{_signature(thing) if kind != 'module' else ''}\n{doc}"
                metadata = {"module": module, "kind": kind, "name": name.rsplit(".", 1)[-1]}
                taken[name] = Document(name, text, metadata)
    return list(taken.values())


def _modules() -> Iterator[tuple[str, ModuleType]]:
    names = {name for name in sys.stdlib_module_names if not name.startswith("_")}
    for name in sorted([*names.difference(_UNSAFE, _BESIDE, _ALIASED), "os.path"]):
        yield from _walk(name)


def _walk(name: str) -> Iterator[tuple[str, ModuleType]]:
    module = _imported(name)
    if module is None:
        return
    yield name, module
    for found in pkgutil.iter_modules(getattr(module, "__path__", ())):
        if not found.name.startswith("_") and found.name not in ("test", "tests"):
            yield from _walk(f"{name}.{found.name}")


def _imported(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit):  # of another platform, or built without its C library
        return None


def _things(modules: list[tuple[str, ModuleType]]) -> Iterator[tuple[str, Kind, Any, str]]:
    """Name, kind, object and module of all that is public; an object has its shortest name."""
    found: dict[int, tuple[str, Any, str]] = {}
    for name, module in modules:
        yield name, "module", module, name
        for short, thing in _public(name, module):
            full = short if name == "builtins" else f"{name}.{short}"
            before = found.get(id(thing))
            if before is None or full.count(".") < before[0].count("."):
                found[id(thing)] = (full, thing, name)
    for full, thing, name in found.values():
        if not inspect.isclass(thing):
            yield full, "function", thing, name
            continue
        yield full, "class", thing, name
        for short, member in vars(thing).items():
            if not short.startswith("_") and _is_method(member):
                yield f"{full}.{short}", "method", member, name


def _public(name: str, module: ModuleType) -> Iterator[tuple[str, Any]]:
    listed = getattr(module, "__all__", None)
    names = listed if isinstance(listed, (list, tuple)) else list(vars(module))
    for short in names:
        thing = getattr(module, short, None)
        ours = inspect.isclass(thing) or inspect.isroutine(thing)
        if not short.startswith("_") and ours and _belongs(thing, name):
            yield short, thing


def _belongs(thing: Any, module: str) -> bool:
    """Whether it is defined here, in a part of this package, or in C for it."""
    home = getattr(thing, "__module__", None)
    if not isinstance(home, str):
        return False
    hidden = home.startswith("_") or home in _ALIASED
    return home == module or hidden or home.startswith(f"{module}.")


def _is_method(member: Any) -> bool:
    plain = (staticmethod, classmethod, property)
    return isinstance(member, plain) or inspect.isroutine(member)


def _doc(thing: Any) -> str:
    parts = [thing, vars(thing).get("__init__")] if inspect.isclass(thing) else [thing]
    # Every class has an `__init__`; one written in C documents nothing.
    docs = [part.__doc__ for part in parts if part is thing or inspect.isfunction(part)]
    return "\n\n".join(inspect.cleandoc(doc) for doc in docs if isinstance(doc, str)).strip()


def _signature(thing: Any) -> str:
    try:
        signature = inspect.signature(getattr(thing, "__func__", thing))
    except Exception:  # a default or an annotation that exists on another platform only
        return ""
    parameters = [_without_state(each) for each in signature.parameters.values()]
    return str(signature.replace(parameters=parameters))


def _without_state(parameter: inspect.Parameter) -> inspect.Parameter:
    """The parameter, with a default that says something about this process replaced by "...".

    Some defaults are live objects: `cgi.parse` has the whole environment for one, others print
    their address in memory.
    """
    default = parameter.default
    if default is parameter.empty or isinstance(default, (type(None), bool, int, float)):
        return parameter
    if isinstance(default, (str, bytes)) and len(default) <= _SHORT:
        return parameter
    return parameter.replace(default=_ELLIPSIS)
