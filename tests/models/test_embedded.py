from __future__ import annotations

import copy
import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from stepwell.errors import ConfigurationError, InputError
from stepwell.models import Encoder, TokenEncoder
from stepwell.models.embedded import EmbeddedEncoder

TEXTS = [
    "The log files are rotated every night by a timer.",
    "Statins are among the most widely prescribed drugs.",
    "def rotate(path: str) -> None:\n    '''Move the log away.'''",
    "wing",
    "An experimental study of a wing in a propeller slipstream was made. " * 12,
    "Пример текста и 例文",
]


@pytest.fixture(scope="module")
def encoder() -> EmbeddedEncoder:
    return EmbeddedEncoder()


def test_protocols(encoder: EmbeddedEncoder) -> None:
    """The embedded encoder gives vectors of texts and of tokens."""
    assert isinstance(encoder, Encoder)
    assert isinstance(encoder, TokenEncoder)


def test_vectors_are_unit_rows(encoder: EmbeddedEncoder) -> None:
    """Every text gets one float32 row of unit length."""
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), encoder.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)


def test_token_vectors_are_unit_rows(encoder: EmbeddedEncoder) -> None:
    """Every token gets one float32 row of unit length, special tokens included."""
    tokens = encoder.encode_tokens(["wing", ""], kind="query")
    assert [t.shape for t in tokens] == [(3, 384), (2, 384)]
    np.testing.assert_allclose(np.linalg.norm(np.concatenate(tokens), axis=1), 1.0, atol=1e-5)


def test_vector_depends_on_its_text_alone(encoder: EmbeddedEncoder) -> None:
    """A vector is the same to the bit alone, in any batch, in any order and from 16 threads."""
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_array_equal(encoder.encode(TEXTS), alone)
    np.testing.assert_array_equal(encoder.encode(TEXTS[::-1])[::-1], alone)
    np.testing.assert_array_equal(encoder.encode(TEXTS, kind="query"), alone)
    with ThreadPoolExecutor(16) as pool:
        for vectors in pool.map(encoder.encode, [TEXTS] * 16):
            np.testing.assert_array_equal(vectors, alone)


def test_same_text_same_tokens(encoder: EmbeddedEncoder) -> None:
    """Token vectors made from kept states equal those made the first time."""
    fresh = EmbeddedEncoder(max_length=200)
    first, again = (fresh.encode_tokens([TEXTS[4]])[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.filterwarnings("ignore")
def test_close_to_the_float_original(encoder: EmbeddedEncoder) -> None:
    """The int8 vectors point where those of the float32 trunk do (cosine above .99)."""
    transformers = pytest.importorskip("sentence_transformers")
    trunk = pytest.importorskip("stepwell.train.model")
    original = transformers.SentenceTransformer(str(trunk.trunk_folder()), device="cpu")
    texts = [*TEXTS[:-1], "hello world", "how do I rotate the logs?"]
    expected = original.encode(texts, normalize_embeddings=True)
    cosine = (encoder.encode(texts) * expected).sum(axis=1)
    assert cosine.min() > 0.99
    assert cosine.mean() > 0.995


def test_caller_cannot_change_kept_vectors(encoder: EmbeddedEncoder) -> None:
    """Writing into a returned query vector leaves the next answer alone."""
    first = encoder.encode(["wing"], kind="query")
    expected = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(encoder.encode(["wing"], kind="query"), expected)


@pytest.mark.parametrize("text", ["", " \n\t ", "\ud800", "ok \udfff\ud83d end", "\x00", "\u200b"])
def test_odd_texts_have_vectors(encoder: EmbeddedEncoder, text: str) -> None:
    """Empty, blank and broken text gives a finite vector and no exception."""
    assert np.isfinite(encoder.encode([text])).all()


@pytest.mark.parametrize("text", ["word " * 2_000_000, " " * 10_000_000 + "end", "a" * 10_000_000])
def test_huge_text_is_quick(encoder: EmbeddedEncoder, text: str) -> None:
    """Ten megabytes cost no more than the tokens that are read of them."""
    encoder.encode(["warm"])
    began = time.perf_counter()
    encoder.encode([text])
    assert time.perf_counter() - began < 5.0


def test_leading_blanks_do_not_hide_the_text(encoder: EmbeddedEncoder) -> None:
    """Blanks make no token, so text behind many of them is still read."""
    vectors = encoder.encode([" " * 20_000 + "wing", "wing"])
    np.testing.assert_array_equal(vectors[0], vectors[1])


def test_no_texts(encoder: EmbeddedEncoder) -> None:
    """No texts give no rows, in the right shape."""
    assert encoder.encode([]).shape == (0, 384)
    assert encoder.encode_tokens([]) == []


def test_progress_counts_every_text(encoder: EmbeddedEncoder) -> None:
    """Progress ends at the number of texts and never goes back."""
    seen: list[int] = []
    encoder.encode(TEXTS, progress=seen.append)
    assert seen == list(range(1, len(TEXTS) + 1))


def test_not_a_string(encoder: EmbeddedEncoder) -> None:
    """A text that is no string is an input error that says what it is."""
    with pytest.raises(InputError, match="not int"):
        encoder.encode([3])  # type: ignore[list-item]


@pytest.mark.parametrize("length", [0, 7, 513, True, 12.5])
def test_impossible_length(length: int) -> None:
    """A length that the model cannot read is refused when the encoder is built."""
    with pytest.raises(ConfigurationError, match="max_length"):
        EmbeddedEncoder(max_length=length)


def test_name_tells_what_changes_vectors() -> None:
    """Encoders that read differing lengths have differing names."""
    names = {EmbeddedEncoder(max_length=n).name for n in (None, 128, 256)}
    assert len(names) == 2


def test_copies_carry_no_weights(encoder: EmbeddedEncoder) -> None:
    """Pickles are small, and copies give the same vectors."""
    encoder.encode(["warm"])
    packed = pickle.dumps(encoder)
    assert len(packed) < 2000
    for other in (pickle.loads(packed), copy.deepcopy(encoder)):
        np.testing.assert_array_equal(other.encode(TEXTS[:1]), encoder.encode(TEXTS[:1]))


def test_close_and_use_again(encoder: EmbeddedEncoder) -> None:
    """A closed encoder loads its weights again when it is used."""
    before = encoder.encode(TEXTS[:1])
    encoder.close()
    np.testing.assert_array_equal(encoder.encode(TEXTS[:1]), before)
