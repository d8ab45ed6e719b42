"""Cross-encoders of the four common forms, made here: real architectures, tiny, random weights."""

from __future__ import annotations

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
    """Return a fast tokenizer, its vocabulary learned from Python's documentation."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["[CLS]", "[SEP]"] if form in ("bert", "deberta") else ["<s>", "</s>"]
    first, last = special
    words = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": first, "sep_token": last}
    tokens = [first, "[PAD]", last, "[UNK]"]
    learn: Any
    if form == "bert":
        made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        made.normalizer = normalizers.BertNormalizer()
        made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        learn = trainers.WordPieceTrainer
    elif form == "roberta":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        learn = trainers.BpeTrainer
    else:
        made = Tokenizer(models.Unigram())
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        learn = trainers.UnigramTrainer
    options = {"unk_token": "[UNK]"} if learn is trainers.UnigramTrainer else {}
    trainer = learn(
        vocab_size=SIZES["vocab_size"], special_tokens=tokens, show_progress=False, **options
    )
    made.train_from_iterator([text for pair in stock_pairs(60) for text in pair], trainer)
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
