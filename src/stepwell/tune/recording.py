"""`record`: run every stage once, as deep as any setting goes; `Recording`: replay them."""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from stepwell.cascade import Cascade
from stepwell.errors import InputError
from stepwell.evaluate.dataset import Dataset
from stepwell.evaluate.identity import identity
from stepwell.tune.anatomy import Anatomy, corpora, take_apart
from stepwell.tune.cost import Costs
from stepwell.tune.grid import check_settings, grid
from stepwell.tune.measuring import Measure
from stepwell.tune.recorded import Recorded
from stepwell.tune.recorder import Recorder
from stepwell.tune.replay import replay, tree_of
from stepwell.tune.setting import Setting

VERSION = 2
_ABOUT = "recording.json"

Values = np.ndarray[tuple[int, int], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The answer of one setting to one query.

    Attributes:
        ids: Best first: what the last stage ranked, then what the stages cut, in their order.
        score: (m,) of the first m, which the last stage gave.
    """

    ids: list[str]
    score: np.ndarray[tuple[int], np.dtype[np.float64]]


class Recording:
    """Scores and times of every query, from which settings are replayed; made by `record`.

    Attributes:
        anatomy: The cascade, taken apart.
        dataset: The questions.
        settings: What was recorded for; the cascade's present setting is the first.
        folder: Where the files are, one a query, read when they are needed.
    """

    def __init__(
        self, anatomy: Anatomy, dataset: Dataset, settings: Sequence[Setting], folder: Path
    ) -> None:
        self.anatomy = anatomy
        self.dataset = dataset
        self.settings = tuple(settings)
        self.folder = folder

    def __len__(self) -> int:
        return len(self.dataset.queries)

    def __iter__(self) -> Iterator[Recorded]:
        return (Recorded.load(self.path(query)) for query in self.dataset.queries)

    def __repr__(self) -> str:
        return f"<Recording of {len(self)} queries for {len(self.settings)} settings>"

    def path(self, query: str) -> Path:
        """The file of a query."""
        return self.folder / f"{sha256(query.encode('utf-8', 'replace')).hexdigest()[:24]}.npz"

    def replay(self, setting: Setting) -> dict[str, Ranking]:
        """What the cascade with this setting answers, by query.

        Raises:
            InputError: The setting needs a score that was not recorded.
        """
        tree, found = tree_of([setting]), {}
        for query, recorded in zip(self.dataset.queries, self):
            answers = next(replay(recorded, tree, self.anatomy))
            ids = [recorded.ids[at] for at in answers.order[0].tolist()]
            found[query] = Ranking(ids, answers.score[0])
        return found

    def values(
        self,
        measure: str = "nDCG@10",
        *,
        settings: Sequence[Setting] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Values:
        """(settings, queries) the measure of each setting with each query.

        Args:
            measure: "nDCG@k", "MRR@k" or "R@k".
            settings: Out of those recorded for; all by default.
            progress: Called with the number of queries done, and of how many.

        Raises:
            InputError: There is no such measure, or a setting needs what was not recorded.
        """
        asked = Measure.parse(measure)
        chosen = self.settings if settings is None else tuple(settings)
        tree = tree_of(chosen)
        values = np.zeros((len(self), len(chosen)))
        for row, (query, recorded) in enumerate(zip(self.dataset.queries, self)):
            judged = self.dataset.qrels[query]
            grades = np.array([judged.get(id, 0) for id in recorded.ids], dtype=np.int64)
            of = asked.of(judged.values())
            for answers in replay(recorded, tree, self.anatomy, depth=asked.k):
                values[row, answers.settings] = of(grades[answers.order])[answers.rows]
            if progress is not None:
                progress(row + 1, len(self))
        return values.T

    def latencies(self, settings: Sequence[Setting] | None = None) -> Values:
        """(settings, queries) the milliseconds that each is predicted to take."""
        costs = Costs(self, self.anatomy)
        chosen = self.settings if settings is None else settings
        return np.stack([costs.of(setting) for setting in chosen])


def record(
    cascade: Cascade,
    dataset: Dataset,
    *,
    settings: Sequence[Setting] | None = None,
    folder: str | Path | None = None,
    key: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Recording:
    """Run every stage of a cascade once a query, as deep as any setting goes.

    What a cross-encoder reads is every passage that some setting shows it, once, uncached and
    timed, so nothing else should run on the machine.

    Args:
        cascade: Of a recall and any of BiEncoder, LateInteraction, CrossEncoder.
        dataset: The questions; their documents are in the cascade's corpus.
        settings: What is to be replayed; `grid` of the cascade by default. The present setting is
            always among them.
        folder: Where to keep the recording, so that one that was interrupted goes on; a temporary
            place by default. A recording of another cascade, or of a corpus that has changed since,
            is refused.
        key: With `folder`, a text that stands for what cannot be looked into, and changes whenever
            it does: a retriever or model of one's own, a corpus in Milvus.
        progress: Called with the number of queries done, and of how many.

    Raises:
        ConfigurationError: The cascade has a stage that cannot be replayed; it says which.
        InputError: The folder holds another recording, or lacks a `key`.
        StageError: A stage failed; what was recorded before stays.
    """
    anatomy = take_apart(cascade)
    chosen = list(dict.fromkeys([anatomy.present, *(settings or grid(anatomy))]))
    check_settings(anatomy, chosen)
    depends = None if folder is None else about(anatomy, dataset, chosen, key=key)
    place = Path(tempfile.mkdtemp(prefix="stepwell-")) if folder is None else Path(folder)
    recording = Recording(anatomy, dataset, chosen, place)
    if depends is None:
        weakref.finalize(recording, shutil.rmtree, place, ignore_errors=True)
    else:
        _claim(place, depends)
    recorder = Recorder(anatomy, chosen)
    for done, (id, text) in enumerate(dataset.queries.items(), start=1):
        path = recording.path(id)
        if not path.exists():
            recorder.record(text).save(path)
        if progress is not None:
            progress(done, len(recording))
    return recording


def about(
    anatomy: Anatomy, dataset: Dataset, settings: Sequence[Setting], *, key: str | None = None
) -> dict[str, object]:
    """What a recording depends on, as plain values.

    Raises:
        InputError: See `identity`.
    """
    asked = json.dumps(dataset.queries, sort_keys=True)
    corpora_ = corpora([*anatomy.arms.values(), *anatomy.rescorers.values()])
    return {
        "version": VERSION,
        "stages": anatomy.describe(),
        "options, models or documents": identity(anatomy.cascade, key=key),
        "queries": sha256(asked.encode("utf-8", "replace")).hexdigest(),
        "documents": [len(each) for each in corpora_],
        "settings": sha256("\n".join(map(repr, settings)).encode()).hexdigest(),
    }


def _claim(folder: Path, mine: dict[str, object]) -> None:
    """Make the folder, or see that what it holds goes on with this recording."""
    file = folder / _ABOUT
    folder.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        if any(folder.iterdir()):
            raise InputError(f"{folder} is not empty and holds no recording; name another folder")
        part = file.with_suffix(".part")
        part.write_text(json.dumps(mine, indent=1))
        part.replace(file)
        return
    try:
        theirs = json.loads(file.read_text())
    except ValueError as error:
        raise InputError(f"{file} is damaged; remove {folder} to record again") from error
    if theirs != mine:
        other = ", ".join(key for key in mine if theirs.get(key) != mine[key])
        raise InputError(
            f"{folder} holds a recording of other {other}; remove it, or name another folder"
        )
