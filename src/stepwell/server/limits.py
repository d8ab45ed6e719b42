"""How much one request may ask, and how many may be there."""

from __future__ import annotations

from dataclasses import dataclass, fields

from stepwell.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused beyond.

    Attributes:
        body: Bytes of a request's body.
        documents: Documents of one request.
        characters: Characters of one document.
        query: Characters of a query.
        k: Documents that a search answers.
        requests: Requests that are worked on at once.

    Raises:
        ConfigurationError: One of them is below 1.
    """

    body: int = 16 * 2**20
    documents: int = 1000
    characters: int = 100_000
    query: int = 10_000
    k: int = 100
    requests: int = 64

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or value < 1:
                raise ConfigurationError(
                    f"the limit {field.name!r} must be an integer of at least 1, not {value!r}"
                )
