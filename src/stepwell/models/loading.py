"""What a user hands over (nothing, a name, an object, a callable) becomes an encoder or scorer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from stepwell.errors import ConfigurationError
from stepwell.models.protocols import Encoder, PairScorer

Backend: TypeAlias = Literal["torch", "onnx", "openvino"]
EncoderSpec: TypeAlias = "str | Encoder | Callable[[list[str]], Any] | None"
ScorerSpec: TypeAlias = "str | PairScorer | Callable[[str, list[str]], Sequence[float]] | None"

EMBEDDED = "embedded"


def load_encoder(
    spec: EncoderSpec = None,
    /,
    *,
    backend: Backend = "torch",
    device: str | None = None,
    revision: str | None = None,
    max_length: int | None = None,
    name: str | None = None,
) -> Encoder:
    """Return the encoder that `spec` stands for; no weights are read before its first use.

    Args:
        spec: None or ``"embedded"`` for the packaged model, a sentence-transformers model by name
            or path or already loaded, an `Encoder`, or a callable from a list of texts to vectors.
        backend: What runs a named model.
        device: Where a named model runs; None lets sentence-transformers choose.
        revision: Commit or tag of a named model.
        max_length: Tokens read of a text; None is the model's own limit.
        name: What a corpus records for a callable, which has no name of its own that lasts.

    Raises:
        MissingExtraError: A named model was asked for without the extra ``sentence-transformers``.
        ConfigurationError: `spec` is none of these, or the model cannot be found.
    """
    if spec is None or spec == EMBEDDED:
        from stepwell.models.embedded import EmbeddedEncoder

        return EmbeddedEncoder(max_length=max_length)
    if isinstance(spec, str):
        from stepwell.models.named import NamedEncoder

        return NamedEncoder(
            spec, backend=backend, device=device, revision=revision, max_length=max_length
        )
    if _offers(spec, "name", "dimension", "encode"):
        return cast(Encoder, spec)
    if _is_a(spec, "SentenceTransformer"):
        from stepwell.models.named import NamedEncoder

        return NamedEncoder(spec)
    for framework, kind in (("langchain", "Embeddings"), ("llama_index", "BaseEmbedding")):
        if _of_framework(spec, framework, kind):
            raise ConfigurationError(
                f"a {type(spec).__name__} becomes an encoder by stepwell.{framework}.as_encoder"
            )
    if callable(spec):
        from stepwell.models.callables import CallableEncoder

        return CallableEncoder(spec, name=name)
    message = f"an encoder is None, a name, an Encoder or a callable, not {type(spec).__name__}"
    raise ConfigurationError(message)


def load_scorer(
    spec: ScorerSpec = None,
    /,
    *,
    backend: Backend | Literal["auto"] = "torch",
    device: str | None = None,
    revision: str | None = None,
    max_length: int | None = None,
    max_windows: int = 4,
    name: str | None = None,
    pairs: Sequence[tuple[str, str]] | None = None,
    cache: bool | str | Path = False,
    shared: bool = False,
) -> PairScorer:
    """Return the pair scorer that `spec` stands for; no weights are read before its first use.

    Args:
        spec: None or ``"embedded"`` for the packaged model, the folder of one that `stepwell
            finetune` made, a cross-encoder by name or path or already loaded, a `PairScorer`, or
            a callable ``(query, passages) -> scores``.
        backend: What runs a named model; ``"auto"`` converts it once to what is fastest here.
        device: Where a named model runs; None lets sentence-transformers choose.
        revision: Commit or tag of a named model.
        max_length: Tokens of one forward pass; None is the model's own limit.
        max_windows: Forward passes that one long passage may cost, 1 or more.
        name: What the trace shows for a callable.
        pairs: With ``backend="auto"``, questions and passages to quantise on, 60 or more.
        cache: Whether pairs scored before are kept in memory; a path keeps them on disk too.
        shared: Whether pairs of concurrent calls share the model's batches, see `SharedScorer`.

    Raises:
        MissingExtraError: A named model was asked for without the extra ``sentence-transformers``.
        ConfigurationError: `spec` is none of these, or the model cannot be found.
    """
    scorer = _scorer(
        spec,
        backend=backend,
        device=device,
        revision=revision,
        max_length=max_length,
        max_windows=max_windows,
        name=name,
        pairs=pairs,
    )
    if shared:
        from stepwell.models.sharing import SharedScorer

        by_name = spec is None or isinstance(spec, str)
        scorer = SharedScorer.common(scorer) if by_name else SharedScorer(scorer)
    if cache is False:
        return scorer
    from stepwell.models.pair_cache import CachedScorer

    return CachedScorer(scorer, path=None if cache is True else cache)


def _scorer(
    spec: ScorerSpec,
    /,
    *,
    backend: str,
    device: str | None,
    revision: str | None,
    max_length: int | None,
    max_windows: int,
    name: str | None,
    pairs: Sequence[tuple[str, str]] | None,
) -> PairScorer:
    if spec is None or spec == EMBEDDED:
        from stepwell.models.cross import EmbeddedScorer

        return EmbeddedScorer(max_length=max_length, max_windows=max_windows)
    if isinstance(spec, str) and (Path(spec) / "joint.onnx").is_file():
        from stepwell.models.cross import EmbeddedScorer

        return EmbeddedScorer(spec, max_length=max_length, max_windows=max_windows)
    if isinstance(spec, str) and backend == "auto":
        from stepwell.models.auto import load_auto

        return load_auto(
            spec,
            device=device,
            revision=revision,
            max_length=max_length,
            max_windows=max_windows,
            pairs=pairs,
        )
    if isinstance(spec, str):
        from stepwell.models.named import NamedScorer

        return NamedScorer(
            spec,
            backend=backend,
            device=device,
            revision=revision,
            max_length=max_length,
            max_windows=max_windows,
        )
    if _offers(spec, "name", "kind", "score"):
        return cast(PairScorer, spec)
    if _is_a(spec, "CrossEncoder"):
        from stepwell.models.named import NamedScorer

        return NamedScorer(spec, max_windows=max_windows)
    if callable(spec):
        from stepwell.models.callables import CallableScorer

        return CallableScorer(spec, name=name)
    message = f"a scorer is None, a name, a PairScorer or a callable, not {type(spec).__name__}"
    raise ConfigurationError(message)


def _offers(spec: object, *names: str) -> bool:
    # Looked up without running properties: asking for a dimension may load the model.
    missing = object()
    return not any(inspect.getattr_static(spec, name, missing) is missing for name in names)


def _of_framework(spec: object, framework: str, name: str) -> bool:
    return any(
        kind.__name__ == name and kind.__module__.startswith(framework)
        for kind in type(spec).__mro__
    )


def _is_a(spec: object, name: str) -> bool:
    # By name, because importing the class to compare would import torch.
    return any(
        kind.__name__ == name and kind.__module__.startswith("sentence_transformers.")
        for kind in type(spec).__mro__
    )
