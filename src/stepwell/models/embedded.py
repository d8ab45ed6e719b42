"""The embedded bi-encoder: vectors of texts and of their tokens, with no torch and no download."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from stepwell.errors import ConfigurationError
from stepwell.models.protocols import Kind, Vectors
from stepwell.models.runtime import Embedded, embedded, manifest, side_by_side
from stepwell.models.texts import clean, windows

LENGTH = 256


class EmbeddedEncoder:
    """The packaged bi-encoder; an `Encoder` and a `TokenEncoder`.

    A vector depends on its text alone: not on the batch, the thread or the number of cores.
    Copying or pickling an encoder copies no weights.

    Example:
        >>> EmbeddedEncoder().encode(["how do I rotate the logs?"]).shape
        (1, 384)
    """

    local = True

    def __init__(self, *, max_length: int | None = None) -> None:
        """Make an encoder that reads the first `max_length` tokens of a text, 256 if None."""
        self.max_length = checked_length(max_length)
        self._model = embedded()

    @property
    def name(self) -> str:
        """Model, revision, precision and tokens read, in one string."""
        return f"stepwell-minilm@{manifest()['revision']['encoder']}@int8@{self.max_length}"

    @property
    def dimension(self) -> int:
        """Length of one vector: 384."""
        return int(manifest()["dimension"])

    def encode(
        self,
        texts: Sequence[str],
        /,
        *,
        kind: Kind = "passage",
        progress: Callable[[int], None] | None = None,
    ) -> Vectors:
        """Return unit-length float32 vectors, shape ``(len(texts), 384)``.

        Args:
            texts: Any strings; tokens beyond `max_length` are not read.
            kind: Vectors of queries are kept for a while, since several stages ask for the same.
            progress: Called with the number of texts done, from the calling thread.
        """
        texts = [clean(text) for text in texts]
        model = self._model()
        out = np.empty((len(texts), self.dimension), dtype=np.float32)
        # The longest first: the threads then finish together.
        order = sorted(range(len(texts)), key=lambda at: -len(texts[at]))

        def work(at: int) -> Vectors:
            if kind == "passage":
                return self._vector(model, texts[at])
            key = (self.max_length, texts[at])
            return model.vectors.get(key, lambda: self._vector(model, texts[at]))

        for done, (at, vector) in enumerate(
            zip(order, side_by_side(work, order), strict=True), start=1
        ):
            out[at] = vector
            if progress is not None:
                progress(done)
        return out

    def encode_tokens(self, texts: Sequence[str], /, *, kind: Kind = "passage") -> list[Vectors]:
        """Return for each text a float32 array ``(tokens, 384)``, rows of unit length."""
        del kind
        model = self._model()

        def work(text: str) -> Vectors:
            cut, _ = windows(model.tokenizer, text, length=self.max_length)
            states = model.states(cut[0], keep=True).astype(np.float32)
            tokens: Vectors = model.run("encoder", states=states)[0][0]
            return tokens

        return list(side_by_side(work, list(texts)))

    def close(self) -> None:
        """Free the weights, for every holder; the next use loads them again."""
        self._model.close()

    def _vector(self, model: Embedded, text: str) -> Vectors:
        cut, _ = windows(model.tokenizer, text, length=self.max_length)
        states = model.states(cut[0]).astype(np.float32)
        vector: Vectors = model.run("encoder", states=states)[1][0]
        return vector


def checked_length(length: int | None, /) -> int:
    """Return `length`, or 256 for None.

    Raises:
        ConfigurationError: The model cannot read so many tokens, or so few.
    """
    most = int(manifest()["positions"])
    if length is None:
        return LENGTH
    if type(length) is not int or not 8 <= length <= most:
        raise ConfigurationError(f"max_length must be 8 to {most} tokens, not {length!r}")
    return length
