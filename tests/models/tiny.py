"""Cross-encoders of the four common forms, made here: real architectures, tiny, random weights."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from stepwell.models.calibrate import stock_pairs

SIZES: dict[str, Any] = {
    "vocab_size": 600,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "num_labels": 1,
    "hidden_dropout_prob": 0.0,
}
FORMS = ("bert", "roberta", "deberta", "xlm-roberta")


def tokenizer(form: str) -> Any:
    """Return a fast tokenizer, its vocabulary counted from Python's documentation.

    Only BPE is learned by a trainer: the others' answer another vocabulary in each process.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["[CLS]", "[SEP]"] if form in ("bert", "deberta") else ["<s>", "</s>"]
    first, last = special
    words = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": first, "sep_token": last}
    tokens = [first, "[PAD]", last, "[UNK]"]
    texts = [text for pair in stock_pairs(60) for text in pair]
    if form == "bert":
        letters, common = counted([text.lower() for text in texts])
        known = [*tokens, *letters, *(f"##{letter}" for letter in letters), *common]
        vocabulary = {token: at for at, token in enumerate(known[: SIZES["vocab_size"]])}
        made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        made.normalizer = normalizers.BertNormalizer()
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    elif form == "roberta":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(
            vocab_size=SIZES["vocab_size"], special_tokens=tokens, show_progress=False
        )
        made.train_from_iterator(texts, trainer)
    else:
        letters, common = counted(texts)
        costs = [(token, 0.0) for token in tokens]
        costs += [(letter, -9.0) for letter in ("\u2581", *letters)]
        costs += [(f"\u2581{word}", -4.0) for word in common]
        made = Tokenizer(models.Unigram(costs[: SIZES["vocab_size"]], unk_id=3))
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        made.add_special_tokens(tokens)
    pair = (
        f"{first} $A {last} $B:1 {last}:1"
        if first == "[CLS]"
        else f"{first} $A {last} {last} $B {last}"
    )
    made.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=pair,
        special_tokens=[(token, made.token_to_id(token)) for token in special],
    )
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if first == "[CLS]" else [])]
    return PreTrainedTokenizerFast(
        tokenizer_object=made, model_max_length=128, model_input_names=names, **words
    )


def counted(texts: list[str]) -> tuple[list[str], list[str]]:
    """Return the 120 commonest characters and the words, commonest first, always in one order."""
    letters = Counter("".join(texts).replace(" ", "").replace("\n", ""))
    words = Counter(re.findall(r"[^\W_]{2,}", " ".join(texts)))
    first, second = (
        sorted(counts, key=lambda each: (-counts[each], each)) for counts in (letters, words)
    )
    return first[:120], second


def model(form: str, **changes: Any) -> Any:
    """Return a sequence classifier whose scores differ from pair to pair."""
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        BertConfig,
        DebertaV2Config,
        RobertaConfig,
        XLMRobertaConfig,
    )

    torch.manual_seed(11)
    kinds: dict[str, Any] = {
        "bert": (BertConfig, {"max_position_embeddings": 128}),
        "roberta": (RobertaConfig, {"max_position_embeddings": 130, "type_vocab_size": 1}),
        "xlm-roberta": (XLMRobertaConfig, {"max_position_embeddings": 130, "type_vocab_size": 1}),
        "deberta": (
            DebertaV2Config,
            {
                "max_position_embeddings": 128,
                "relative_attention": True,
                "position_buckets": 16,
                "pos_att_type": ["p2c", "c2p"],
                "norm_rel_ebd": "layer_norm",
                "share_att_key": True,
                "type_vocab_size": 0,
                "position_biased_input": False,
            },
        ),
    }
    config, own = kinds[form]
    made = AutoModelForSequenceClassification.from_config(
        config(**{**SIZES, "pad_token_id": 1, "initializer_range": 0.3, **own, **changes})
    )
    return made.eval()


def saved(folder: Path, form: str, **changes: Any) -> Path:
    """Save model and tokenizer of one form and return the folder."""
    model(form, **changes).save_pretrained(folder)
    tokenizer(form).save_pretrained(folder)
    return folder
