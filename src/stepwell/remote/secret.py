"""A key that is shown nowhere."""

from __future__ import annotations

from typing import Any, NoReturn

from stepwell.errors import ConfigurationError

SHORTEST = 8
"""Characters of a key that is looked for in what servers say."""


class Secret:
    """Holds a key; its repr is stars, and neither a pickle nor a copy through one holds it."""

    __slots__ = ("_value",)

    def __init__(self, value: Any, *, what: str = "the key") -> None:
        """Take a key, without the blanks and line ends that files leave around it.

        Raises:
            ConfigurationError: It is no text that a header can hold. It is not quoted.
        """
        self._value = value.strip() if isinstance(value, str) else ""
        if not (self._value.isascii() and self._value.isprintable() and self._value):
            raise ConfigurationError(f"{what} must be a line of printable ASCII, and not empty")

    def __repr__(self) -> str:
        return "Secret('***')"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is not pickled")

    def reveal(self) -> str:
        """The key itself, for the one header that needs it."""
        return self._value

    def out_of(self, text: str) -> str:
        """The text with the key replaced by stars."""
        # A word that stands for no key is no secret.
        return text if len(self._value) < SHORTEST else text.replace(self._value, "***")
