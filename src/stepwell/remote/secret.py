"""A key that is shown nowhere."""

from __future__ import annotations

from typing import NoReturn


class Secret:
    """Holds a key; its repr is stars, and neither a pickle nor a copy through one holds it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "Secret('***')"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not pickled")

    def reveal(self) -> str:
        """The key itself, for the one header that needs it."""
        return self._value

    def out_of(self, text: str) -> str:
        """The text with the key replaced by stars."""
        return text.replace(self._value, "***")
