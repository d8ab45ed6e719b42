"""A cross-encoder of transformers, loaded and found fit: one score a pair, weights all there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stepwell.errors import ConfigurationError
from stepwell.models.calibrate import stock_pairs
from stepwell.models.hub import short
from stepwell.models.pairs import Joiner

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class NotConvertibleError(Exception):
    """A good cross-encoder of a kind that only its own libraries can run."""


@dataclass(frozen=True, slots=True)
class Source:
    """The original of a converted model.

    Attributes:
        model: In float32, in evaluation mode.
        fast: The tokenizer of transformers.
        length: Tokens that it reads at most.
        pad: Token id that fills a row.
        takes_kinds: Whether it is given token types.
        commit: Commit of the hub that it was loaded from, if it was.
    """

    model: Any
    fast: Any
    length: int
    pad: int
    takes_kinds: bool
    commit: str

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer below, with cutting and padding off."""
        from tokenizers import Tokenizer

        made: Tokenizer = Tokenizer.from_str(self.fast.backend_tokenizer.to_str())
        made.no_truncation()
        made.no_padding()
        return made


def load_source(name: str, /, *, revision: str | None = None, offline: bool = True) -> Source:
    """Load a cross-encoder by path or by its full name on the hub.

    Raises:
        ConfigurationError: It is of another task, gives several scores, lacks weights or a token
            to pad with, or is damaged.
        NotConvertibleError: It has no fast tokenizer, or is no sequence classifier.
    """
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    options: dict[str, Any] = {"revision": revision, "local_files_only": offline}
    label = short(name)
    try:
        config = AutoConfig.from_pretrained(name, **options)
        _check_task(config, label)
        model, notes = AutoModelForSequenceClassification.from_pretrained(
            name, output_loading_info=True, attn_implementation="eager", **options
        )
        fast = AutoTokenizer.from_pretrained(name, **options)
    except ConfigurationError:
        raise
    except Exception as error:
        # A cut-off file fails in as many ways as there are formats: safetensors, pickle, JSON.
        raise ConfigurationError(f"the model {label!r} does not load: {error}") from error
    if notes["missing_keys"]:
        lacking = ", ".join(sorted(notes["missing_keys"])[:3])
        raise ConfigurationError(f"the model {label!r} lacks weights ({lacking}); is it whole?")
    if not getattr(fast, "is_fast", False):
        raise NotConvertibleError(f"{label!r} has no fast tokenizer")
    pad = next((x for x in (fast.pad_token_id, config.pad_token_id) if x is not None), None)
    if pad is None:
        message = f"{label!r} has no pad token; set tokenizer.pad_token and save it with the model"
        raise ConfigurationError(message)
    kinds = "token_type_ids" in fast.model_input_names and (config.type_vocab_size or 0) > 1
    commit = getattr(config, "_commit_hash", None) or ""
    length = readable(model, fast)
    return Source(model.float().eval(), fast, length, int(pad), kinds, commit)


def _check_task(config: Any, label: str) -> None:
    kinds = config.architectures or []
    if kinds and not any("Classification" in kind for kind in kinds):
        if any("CausalLM" in kind for kind in kinds):
            raise NotConvertibleError(f"{label!r} is a {kinds[0]}")
        # Loading one anyway gives a head of random numbers, and scores that mean nothing.
        raise ConfigurationError(f"{label!r} is no cross-encoder but a {kinds[0]}")
    if config.num_labels != 1:
        raise ConfigurationError(
            f"{label!r} gives {config.num_labels} scores a pair; one is needed"
        )


def readable(model: Any, tokenizer: Any, /) -> int:
    """Return how many tokens a model reads, special ones counted."""
    known = [tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", None)]
    embeddings = getattr(getattr(model, "base_model", None), "embeddings", None)
    table: Any = getattr(embeddings, "position_embeddings", None)
    if getattr(table, "padding_idx", None) is not None:
        # RoBERTa counts positions from behind its pad token.
        known.append(table.num_embeddings - table.padding_idx - 1)
    return int(min([x for x in known if isinstance(x, int) and 0 < x < 10**6] or [512]))


def joinable(source: Source, /) -> Joiner:
    """Return the joiner of a model's pairs.

    Raises:
        NotConvertibleError: A pair joined here differs from one that its own tokenizer makes.
    """
    try:
        joiner = Joiner(source.tokenizer)
    except ConfigurationError as error:
        raise NotConvertibleError(str(error)) from error
    length = source.length
    for query, passage in [("a b", "c"), ("", "word"), ("word", ""), *stock_pairs(4, seed=1)]:
        # In lists, because an empty passage by itself is taken for none.
        own = source.fast([query], [passage], truncation="only_second", max_length=length)
        row = joiner.rows(joiner.query(query, length=length), [passage], length=length).rows[0]
        kinds = own["token_type_ids"][0] if source.takes_kinds else list(row.kinds)
        if list(row.ids) != own["input_ids"][0] or list(row.kinds) != kinds:
            raise NotConvertibleError("the tokenizer reads a pair otherwise than its two texts")
    return joiner
