"""Any sentence-transformers model, by name, by path or already loaded, as encoder or scorer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from stepwell.errors import ConfigurationError
from stepwell.models.checks import checked_scores, checked_vectors
from stepwell.models.hub import local_only, short
from stepwell.models.protocols import Kind, PairScores, ScoreKind, Vectors
from stepwell.models.registry import Handle, ModelKey
from stepwell.models.steps import Pair, Readings, in_steps
from stepwell.models.texts import clean, shorten, spans

BATCH = 16


class _Loaded:
    """A loaded model and the lock that its tokenizer needs: it is told its length at each call."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.lock = threading.Lock()


class NamedEncoder:
    """A bi-encoder of sentence-transformers; an `Encoder` and a `TokenEncoder`."""

    local = True

    def __init__(
        self,
        model: Any,
        /,
        *,
        backend: str = "torch",
        device: str | None = None,
        revision: str | None = None,
        max_length: int | None = None,
    ) -> None:
        """Take a model by name or path, or a loaded `SentenceTransformer`.

        Raises:
            MissingExtraError: The extra ``sentence-transformers`` is not installed.
            ConfigurationError: There is no such model, or the hub cannot be reached.
        """
        self._model = _handle("SentenceTransformer", model, backend, device, revision, max_length)
        self.name = str(self._model.key)

    @property
    def dimension(self) -> int:
        """Length of one vector; loads the model."""
        return int(_dimension(self._model().model))

    def encode(self, texts: Sequence[str], /, *, kind: Kind = "passage") -> Vectors:
        """Return unit-length float32 vectors; the model's own prompt for queries is used.

        Raises:
            ModelError: The model returned NaN or infinity.
        """
        loaded = self._model()
        rows = [clean(text) for text in texts]
        if not rows:
            return np.empty((0, self.dimension), dtype=np.float32)
        encode = loaded.model.encode_query if kind == "query" else loaded.model.encode_document
        with loaded.lock:
            values = encode(rows, normalize_embeddings=True, show_progress_bar=False)
        dimension = int(_dimension(loaded.model))
        return checked_vectors(values, rows=len(rows), dimension=dimension, name=self.name)

    def encode_tokens(self, texts: Sequence[str], /, *, kind: Kind = "passage") -> list[Vectors]:
        """Return for each text a float32 array ``(tokens, d)``, rows of unit length."""
        loaded = self._model()
        if not len(texts):
            return []
        encode = loaded.model.encode_query if kind == "query" else loaded.model.encode_document
        with loaded.lock:
            arrays = encode(
                [clean(text) for text in texts],
                output_value="token_embeddings",
                show_progress_bar=False,
            )
        return [
            checked_vectors(values, rows=len(values), dimension=None, name=self.name)
            for values in arrays
        ]

    def close(self) -> None:
        """Free the weights, for every holder; the next use loads them again."""
        self._model.close()


class NamedScorer:
    """A cross-encoder of sentence-transformers; a `PairScorer` that returns logits."""

    kind: ScoreKind = "logit"
    step = BATCH

    def __init__(
        self,
        model: Any,
        /,
        *,
        backend: str = "torch",
        device: str | None = None,
        revision: str | None = None,
        max_length: int | None = None,
        max_windows: int = 4,
    ) -> None:
        """Take a model by name or path, or a loaded `CrossEncoder`.

        Raises:
            MissingExtraError: The extra ``sentence-transformers`` is not installed.
            ConfigurationError: There is no such model, or the hub cannot be reached.
        """
        if type(max_windows) is not int or max_windows < 1:
            raise ConfigurationError(f"max_windows must be 1 or more, not {max_windows!r}")
        self.max_windows = max_windows
        self.backend = backend if isinstance(model, str) else "torch"
        self._model = _handle("CrossEncoder", model, backend, device, revision, max_length)
        self.name = str(self._model.key)

    def score(
        self, query: str, passages: Sequence[str], /, *, stop: Callable[[], bool] | None = None
    ) -> PairScores:
        """Score passages in the order given; long ones in windows, of which the best counts.

        Raises:
            ModelError: The model returned NaN or infinity.
        """
        return in_steps(self.read, query, passages, size=self.step, stop=stop)

    def read(self, pairs: Sequence[Pair], /) -> Readings:
        """Score pairs of any queries.

        Raises:
            ModelError: The model returned NaN or infinity.
        """
        values = np.full(len(pairs), -np.inf, dtype=np.float32)
        cut = np.zeros(len(pairs), dtype=np.bool_)
        rows: list[Pair] = []
        owner: list[int] = []
        loaded = self._model()
        with loaded.lock:
            for at, (query, text) in enumerate(pairs):
                query = clean(query)
                parts, cut[at] = self._windows(loaded.model, query, text)
                rows += [(query, part) for part in parts]
                owner += [at] * len(parts)
            scores = _predict(loaded.model, rows)
        np.maximum.at(values, owner, checked_scores(scores, rows=len(rows), name=self.name))
        return Readings(values, cut, np.bincount(owner, minlength=len(pairs)).astype(np.int32))

    def close(self) -> None:
        """Free the weights, for every holder; the next use loads them again."""
        self._model.close()

    def _windows(self, model: Any, query: str, text: str) -> tuple[list[str], bool]:
        """Cut `text` where its tokens outgrow the model, and say if some of it stays unread."""
        length = _length(model)
        tokenizer = model.tokenizer
        asked = len(tokenizer(query, add_special_tokens=False, truncation=False)["input_ids"])
        room = max(length - min(asked, length // 2) - tokenizer.num_special_tokens_to_add(True), 8)
        text, cut = shorten(clean(text), room * self.max_windows)
        if not getattr(tokenizer, "is_fast", False):
            return [text], cut
        marks = tokenizer(
            text, add_special_tokens=False, truncation=False, return_offsets_mapping=True
        )["offset_mapping"]
        if len(marks) <= room:
            return [text], cut
        cuts = spans(len(marks), room, overlap=room // 4, most=self.max_windows)
        unread = cut or cuts[-1][1] < len(marks)
        return [text[marks[a][0] : marks[b - 1][1]] for a, b in cuts], unread


def _length(model: Any) -> int:
    known = [getattr(model, _limit(model)), getattr(model.tokenizer, "model_max_length", None)]
    return int(min([x for x in known if isinstance(x, int) and 0 < x < 10**6] or [512]))


def _limit(model: Any) -> str:
    # Renamed by sentence-transformers 6, which warns of the old name.
    return "max_seq_length" if hasattr(type(model), "max_seq_length") else "max_length"


def _dimension(model: Any) -> int:
    ask = getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension
    return int(ask())


def _predict(model: Any, pairs: list[tuple[str, str]]) -> Any:
    from torch.nn import Identity

    return model.predict(pairs, batch_size=BATCH, show_progress_bar=False, activation_fn=Identity())


def _handle(
    task: str,
    model: Any,
    backend: str,
    device: str | None,
    revision: str | None,
    max_length: int | None,
) -> Handle[_Loaded]:
    if backend not in ("torch", "onnx", "openvino"):
        raise ConfigurationError(f"backend must be torch, onnx or openvino, not {backend!r}")
    if not isinstance(model, str):
        key = ModelKey(type(model).__name__, revision=hex(id(model)), task=task)
        held = _Loaded(model)
        return Handle(key, lambda: held)
    organisation = "cross-encoder" if task == "CrossEncoder" else "sentence-transformers"
    local_only(model, organisation=organisation, revision=revision)
    key = ModelKey(
        model,
        revision=revision or "",
        device=device or "auto",
        precision="fp32" if backend == "torch" else backend,
        length=max_length or 0,
        task=task,
    )
    return Handle(key, _Load(key, organisation))


class _Load:
    """Loads a named model; an object and no closure, so that its holder can be pickled."""

    def __init__(self, key: ModelKey, organisation: str) -> None:
        self._key, self._organisation = key, organisation

    def __call__(self) -> _Loaded:
        import sentence_transformers

        key = self._key
        offline = local_only(
            key.name, organisation=self._organisation, revision=key.revision or None
        )
        options: dict[str, Any] = {
            "device": None if key.device == "auto" else key.device,
            "revision": key.revision or None,
            "backend": "torch" if key.precision == "fp32" else key.precision,
            "local_files_only": offline,
            "trust_remote_code": False,
        }
        try:
            model = getattr(sentence_transformers, key.task)(key.name, **options)
        except ImportError:
            raise
        except Exception as error:
            # A cut-off file fails in as many ways as there are formats: safetensors, pickle, JSON.
            message = f"the model {short(key.name)!r} does not load as {key.task}: {error}"
            raise ConfigurationError(message) from error
        if key.task == "CrossEncoder":
            _check_scorer(model, key.name)
        # Tokenizers of static embeddings have no such thing, and fill nothing.
        if getattr(model.tokenizer, "pad_token", "") is None:
            message = f"{short(key.name)!r} has no pad token; set tokenizer.pad_token and save it"
            raise ConfigurationError(f"{message} with the model")
        return _Loaded(_limited(model, key))


def _check_scorer(model: Any, name: str) -> None:
    kinds = getattr(model.config, "architectures", None) or []
    if kinds and not any("Classification" in kind or "CausalLM" in kind for kind in kinds):
        # Loading one anyway gives a head of random numbers, and scores that mean nothing.
        raise ConfigurationError(f"{short(name)!r} is no cross-encoder but a {kinds[0]}")
    if getattr(model, "num_labels", 1) != 1:
        message = f"{short(name)!r} gives {model.num_labels} scores a pair; one is needed"
        raise ConfigurationError(message)


def _limited(model: Any, key: ModelKey) -> Any:
    if not key.length:
        return model
    own = _length(model) if key.task == "CrossEncoder" else model.max_seq_length
    if own and key.length > own:
        message = f"{short(key.name)!r} reads {own} tokens at most, not {key.length}"
        raise ConfigurationError(message)
    setattr(model, _limit(model), key.length)
    return model
