from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import stepwell as sw
from stepwell.stages.cascade_file import write_cascade
from stepwell.stages.presets import PRESETS, preset

LOGS = [
    sw.Document("a", "how old logs are rotated and removed", {"year": 2024}),
    sw.Document("b", "the kitchen opens at noon", {"year": 2023}),
    sw.Document("c", "rotating keys once a year", {"year": 2024}),
]


@pytest.fixture
def corpus() -> Any:
    with sw.Corpus.temporary() as made:
        made.add(LOGS)
        yield made


def again(cascade: sw.Cascade, path: Path, **given: Any) -> sw.Cascade:
    cascade.save(path)
    return sw.Cascade.load(path, **given)


def same(one: sw.Cascade, other: sw.Cascade, folder: Path) -> bool:
    """Whether two cascades are written alike: their files hold all options that differ."""
    one.save(folder / "one.toml")
    other.save(folder / "other.toml")
    return (folder / "one.toml").read_text() == (folder / "other.toml").read_text()


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_answers_alike_when_it_comes_out_of_a_file(
    name: str, corpus: sw.Corpus, tmp_path: Path
) -> None:
    """Every preset, saved and loaded, gives the same hits with the same scores."""
    made = sw.Cascade(preset(name, corpus))
    loaded = again(made, tmp_path / "made.toml", corpus=corpus)
    assert repr(loaded.stages) == repr(made.stages)
    one, other = made.search("rotate logs"), loaded.search("rotate logs")
    assert [(hit.id, hit.score) for hit in one.hits] == [(hit.id, hit.score) for hit in other.hits]


def test_every_kind_of_stage_comes_back_with_its_options(corpus: sw.Corpus, tmp_path: Path) -> None:
    """A cascade of every type of stage, each with options that are not its default."""
    arms = [
        sw.BM25(corpus, 70, name="words"),
        sw.Dense(corpus, 80, name="meaning"),
        sw.Keyword(corpus, 5, phrase=False),
    ]
    inner = sw.Cascade([sw.Dedupe(near=0.9), sw.TopK(40)], name="tidy")
    made = sw.Cascade(
        [
            sw.Hybrid(arms, 60, weights=[1, 2, 0.5], fusion="rrf", k_rrf=20, blend=0.4, name="all"),
            inner,
            sw.BiEncoder(corpus, 30, blend=0.2, name="vectors"),
            sw.LateInteraction(k=20, blend=0.3, cache_bytes=1000, name="tokens"),
            sw.Guarded(
                sw.CrossEncoder(k=12, depth=15, blend=0.6, cache=False, shared=False, name="pairs"),
                sw.TopK(12, name="instead"),
                failures=None,
                rest=3,
                name="guard",
            ),
            sw.MinScore(-3, of="pairs"),
            sw.MMR(corpus, 4, weight=0.5),
            sw.Parents(key="of"),
        ],
        on_failure={"tokens": "raise"},
    )
    loaded = again(made, tmp_path / "made.toml", corpus=corpus)
    assert same(made, loaded, tmp_path)
    assert repr(loaded.stages) == repr(made.stages)
    assert loaded.on_failure == {"tokens": "raise"}
    hybrid, pairs = loaded.stages[0], loaded.stages[4].stage
    assert (hybrid.weights, hybrid.k_rrf, hybrid.blend) == ((1.0, 2.0, 0.5), 20, 0.4)
    assert (hybrid.arms[2].phrase, hybrid.arms[0].corpus) == (False, corpus)
    assert (pairs.depth, pairs.cache, pairs.shared) == (15, False, False)
    assert loaded.stages[4].fallback.name == "instead"


shaping = st.one_of(
    st.builds(sw.TopK, st.integers(1, 10**6)),
    st.builds(sw.MinScore, st.floats(-1e9, 1e9), of=st.just("given")),
    st.builds(sw.Dedupe, near=st.none() | st.floats(0.01, 1)),
    st.builds(sw.BM25, k=st.none() | st.integers(1, 5000)),
    st.builds(sw.BiEncoder, k=st.none() | st.integers(1, 500), blend=st.floats(0, 1)),
    st.builds(
        sw.CrossEncoder,
        k=st.none() | st.integers(1, 99),
        depth=st.none() | st.integers(1, 99),
        blend=st.floats(0, 1),
        cache=st.booleans(),
    ),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(shaping, min_size=1, max_size=6, unique_by=lambda stage: stage.name))
def test_what_is_written_is_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, stages: list[sw.Stage]
) -> None:
    """Whatever numbers the options are, a file holds them exactly."""
    folder = tmp_path_factory.mktemp("files")
    made = sw.Cascade(stages)
    loaded = again(made, folder / "made.toml", corpus=None)
    assert same(made, loaded, folder)
    for one, other in zip(made.stages, loaded.stages, strict=True):
        for name in ("k", "depth", "blend", "threshold", "near", "cache", "of"):
            assert getattr(one, name, None) == getattr(other, name, None)


def test_a_default_stays_out_of_the_file(tmp_path: Path) -> None:
    """A file shows what was chosen, not what is so anyway."""
    sw.Cascade([sw.CrossEncoder(k=3)]).save(tmp_path / "made.toml")
    text = (tmp_path / "made.toml").read_text()
    assert text == 'version = 1\n\n[[stage]]\ntype = "cross-encoder"\nk = 3\n'


def test_no_limit_is_written_as_none(tmp_path: Path) -> None:
    """`k=None` where the default is a number comes back as None."""
    loaded = again(sw.Cascade([sw.BiEncoder(k=None)]), tmp_path / "made.toml")
    assert loaded.stages[0].k is None


def test_names_come_back_whatever_they_are(tmp_path: Path) -> None:
    """The cascade's own name, and stages that are called as TOML's missing null is written."""
    inner = sw.Cascade([sw.TopK(2, name="none")], name="inner", on_failure={"none": "skip"})
    made = sw.Cascade([inner, sw.TopK(1)], name="mine")
    loaded = again(made, tmp_path / "made.toml")
    assert (loaded.name, loaded.stages[0].name) == ("mine", "inner")
    assert loaded.stages[0].stages[0].name == "none"
    assert loaded.stages[0].on_failure == {"none": "skip"}
    assert again(sw.Cascade([sw.TopK(1)], name="none"), tmp_path / "made.toml").name == "none"


def test_what_would_come_back_as_another_is_refused(tmp_path: Path) -> None:
    """An option that may be None and is the word "none" is told when it is written."""
    made = sw.Cascade([sw.TopK(1, name="none"), sw.MinScore(1, of="none")])
    with pytest.raises(sw.ConfigurationError, match="'min-score': its of is 'none'"):
        made.save(tmp_path / "made.toml")
    assert not list(tmp_path.iterdir())


def test_a_cascade_of_a_class_of_your_own_is_written_as_its_stages(tmp_path: Path) -> None:
    """What a subclass adds is code, and not in the file."""

    class Mine(sw.Cascade):
        pass

    assert repr(again(Mine([sw.TopK(1)]), tmp_path / "made.toml")) == "Cascade(top-k)"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(), st.text(min_size=1).filter(lambda name: name.isprintable()))
def test_any_comment_and_name_make_a_file_that_is_read(
    tmp_path_factory: pytest.TempPathFactory, about: str, name: str
) -> None:
    """Control characters, quotes and line ends neither break the file nor become a part of it."""
    path = tmp_path_factory.mktemp("files") / "made.toml"
    write_cascade(sw.Cascade([sw.TopK(1, name=name)]), path, about="\x07\x7f\ud800" + about)
    assert [stage.name for stage in sw.Cascade.load(path).stages] == [name]


@pytest.mark.parametrize("name", ["a\x07b", "\x7f", "\u0085", 'a"]\n[[stage]]'])
def test_control_characters_of_a_name_come_back(name: str, tmp_path: Path) -> None:
    """They are written as TOML escapes them."""
    loaded = again(sw.Cascade([sw.TopK(1, name=name)]), tmp_path / "made.toml")
    assert loaded.stages[0].name == name


def test_a_file_that_cannot_be_written_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After half a character in a name, and an end in the middle, the old file is there alone."""
    path = tmp_path / "made.toml"
    sw.Cascade([sw.TopK(1)]).save(path)
    before = path.read_bytes()
    with pytest.raises(sw.ConfigurationError, match="half a character"):
        sw.Cascade([sw.TopK(2, name="a\ud800")]).save(path)
    write = Path.write_bytes

    def full(file: Path, data: bytes) -> int:
        write(file, data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        sw.Cascade([sw.TopK(2)]).save(path)
    assert [each.read_bytes() for each in tmp_path.iterdir()] == [before]


def test_a_stage_of_your_own_is_named_and_given_again(tmp_path: Path) -> None:
    """A file names what it cannot hold, and the reader asks for it by name."""

    @sw.stage
    def newest(candidates: sw.Candidates) -> sw.Candidates:
        return candidates.top(1)

    path = tmp_path / "made.toml"
    loaded = again(sw.Cascade([newest, sw.TopK(1)]), path, stages=[newest])
    assert loaded.stages[0] is newest
    with pytest.raises(sw.ConfigurationError, match=r"stage 1 is your own stage 'newest'.*stages="):
        sw.Cascade.load(path)


def test_a_remote_reranker_is_written_without_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """API, model, URL and limits are in the file; the key and headers are not."""
    secret = "sk-secret-0123456789"
    scorer = sw.RemoteReranker(
        "jina",
        url="http://localhost:1",
        key=secret,
        timeout=2,
        headers={"x-team": "team-" + secret},
    )
    path = tmp_path / "made.toml"
    sw.Cascade([sw.CrossEncoder(scorer)]).save(path)
    assert "secret" not in path.read_text()
    monkeypatch.setenv("JINA_API_KEY", "sk-other-0123456789")
    loaded = sw.Cascade.load(path).stages[0].given
    assert (loaded.api, loaded.url, loaded.timeout) == ("jina", "http://localhost:1", 2.0)


def test_an_object_that_has_no_name_is_refused(tmp_path: Path) -> None:
    """A callable as a model cannot be written, and no file is left behind."""
    path = tmp_path / "made.toml"
    cascade = sw.Cascade([sw.CrossEncoder(lambda query, texts: [1.0 for _ in texts])])
    with pytest.raises(sw.ConfigurationError, match="'cross-encoder': its model is a function"):
        cascade.save(path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "version None; this Stepwell reads 1"),
        ("version = 2", "of version 2; this Stepwell reads 1"),
        ("version = ", "is no TOML"),
        ("version = 1", "at least one stage"),
        ("version = 1\n[[stage]]\nk = 3", "stage 1 has no type"),
        ('version = 1\n[[stage]]\ntype = "bm52"', "no type 'bm52'; did you mean 'bm25'"),
        ('version = 1\n[[stage]]\ntype = "top-k"', r"stage 1 \(top-k\) needs k"),
        ('version = 1\n[[stage]]\ntype = "top-k"\nk = 0', r"\(top-k\): k must be"),
        ('version = 1\n[[stage]]\ntype = "top-k"\nk = "ten"', r"\(top-k\): k must be"),
        ('version = 1\n[[stage]]\ntype = "bm25"\nzz = 1', "has no option 'zz'; there are"),
        ('version = 1\n[[stage]]\ntype = "bi-encoder"\nbelnd = 1', "did you mean 'blend'"),
        ('version = 1\n[[stage]]\ntype = "hybrid"\nstages = 3', r"stages must be tables"),
        ('version = 1\n[[stage]]\ntype = "bm25"\ncorpus = "x"', "has no option 'corpus'"),
        ('version = 1\nstages = 1\n[[stage]]\ntype = "bm25"', "no option 'stages'"),
        ('version = 1\nstage = "bm25"', "stages must be tables"),
        ('version = 1\non_failure = "skip"\n[[stage]]\ntype = "top-k"\nk = 1', "by stage name"),
        ('version = 1\nspeed = 1\n[[stage]]\ntype = "bm25"', "the cascade has no option 'speed'"),
        (
            'version = 1\n[[stage]]\ntype = "cross-encoder"\nblend = "much"',
            r"stage 1 \(cross-encoder\)",
        ),
    ],
)
def test_a_faulty_file_is_refused_with_its_place(text: str, said: str, tmp_path: Path) -> None:
    """A file of another version, with a typo or a wrong value says which, and where."""
    path = tmp_path / "made.toml"
    path.write_text(text)
    with pytest.raises(sw.ConfigurationError, match=said) as caught:
        sw.Cascade.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("stages", "named"),
    [
        ([sw.BM25(), sw.TopK(1)], "bm25"),
        ([sw.Hybrid([sw.BM25(), sw.Dense()]), sw.CrossEncoder(k=5)], "bm25, dense"),
        ([sw.Guarded(sw.Cascade([sw.BM25()]))], "bm25"),
    ],
    ids=["bm25", "hybrid", "guarded"],
)
def test_recall_without_a_corpus_is_refused_when_it_is_read(
    stages: list[Any], named: str, corpus: sw.Corpus, tmp_path: Path
) -> None:
    """What could only fail at the first search says so before, unless None is given on purpose."""
    path = tmp_path / "made.toml"
    sw.Cascade(stages).save(path)
    with pytest.raises(sw.ConfigurationError, match=f"{named}: give it, .*load\\(path, corpus\\)"):
        sw.Cascade.load(path)
    assert sw.Cascade.load(path, corpus).search("logs").ids
    assert sw.Cascade.load(path, None).rank("logs", LOGS).ids


def test_what_only_reranks_is_read_without_a_corpus(tmp_path: Path) -> None:
    """A file whose first stage is no recall needs no corpus."""
    path = tmp_path / "made.toml"
    sw.Cascade([sw.BiEncoder(k=2), sw.BM25(name="words")]).save(path)
    assert len(sw.Cascade.load(path).rank("logs", LOGS)) == 2


def test_a_stage_that_cannot_do_without_a_corpus_says_so(tmp_path: Path) -> None:
    """Not even None will do for it, and the message is in the reader's words."""
    path = tmp_path / "made.toml"
    path.write_text('version = 1\n[[stage]]\ntype = "keyword"')
    with pytest.raises(
        sw.ConfigurationError, match=r"stage 1 \(keyword\) needs corpus: Cascade.load"
    ):
        sw.Cascade.load(path, None)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A path without a file is an error of configuration, not of the operating system."""
    with pytest.raises(sw.ConfigurationError, match="cannot be read: No such file"):
        sw.Cascade.load(tmp_path / "none.toml")
