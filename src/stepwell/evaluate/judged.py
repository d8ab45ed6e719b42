"""Judgements and runs as files: qrels in BEIR's and in TREC's form, runs in TREC's."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from stepwell.errors import InputError
from stepwell.ingest.beir import lines

Qrels: TypeAlias = dict[str, dict[str, int]]
"""Grades by query and document; above 0 is relevant."""
Run: TypeAlias = dict[str, dict[str, float]]
"""Scores by query and document; higher is better."""


def read_qrels(path: Path | str) -> Qrels:
    """Read judgements; the form is told from the number of columns.

    Args:
        path: BEIR's form (query, document, grade; with or without a header) or TREC's (query,
            iteration, document, grade), columns separated by tabs or spaces; may be gzipped.

    Raises:
        InputError: The file cannot be read, a line is neither, or a document has two grades
            for a query.
    """
    file, qrels = Path(path), Qrels()
    for number, row in _rows(file):
        if len(row) not in (3, 4):
            raise InputError(f"{file} line {number}: {len(row)} columns, where qrels have 3 or 4")
        query, document, text = row[0], row[-2], row[-1]
        try:
            grade = int(text)
        except ValueError as error:
            if number == 1 and len(row) == 3:
                continue  # the header
            raise InputError(
                f"{file} line {number}: the grade {text!r} is not a whole number"
            ) from error
        grades = qrels.setdefault(query, {})
        if grades.get(document, grade) != grade:
            raise InputError(
                f"{file} line {number}: {document!r} is judged {grades[document]} and {grade} for "
                f"{query!r}"
            )
        grades[document] = grade
    return qrels


def read_run(path: Path | str) -> Run:
    """Read a run in TREC's form: query, "Q0", document, rank, score, tag.

    As everywhere in TREC, the score orders the documents and the rank is not read.

    Raises:
        InputError: The file cannot be read, a line has another form, or a document repeats.
    """
    file, run = Path(path), Run()
    for number, row in _rows(file, tabs=False):
        if len(row) != 6:
            raise InputError(f"{file} line {number}: {len(row)} columns, where a TREC run has 6")
        query, _, document, _, score, _ = row
        scores = run.setdefault(query, {})
        if document in scores:
            raise InputError(f"{file} line {number}: {document!r} is there twice for {query!r}")
        scores[document] = _score(score, f"{file} line {number}")
    return run


def _score(text: str, where: str) -> float:
    try:
        score = float(text)
    except ValueError as error:
        raise InputError(f"{where}: the score {text!r} is not a number") from error
    if not math.isfinite(score):
        raise InputError(f"{where}: the score is {text}, which orders nothing")
    return score


def _rows(file: Path, *, tabs: bool = True) -> Iterator[tuple[int, list[str]]]:
    for number, line in lines(file):
        try:
            text = line.decode("utf-8-sig").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise InputError(f"{file} line {number}: it is not UTF-8") from error
        yield number, text.split("\t") if tabs and "\t" in text else text.split()
