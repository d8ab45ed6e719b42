"""What the record says of an index of neighbours, and whether its file is still that."""

from __future__ import annotations

import json
import mmap
import os
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

RETRAIN = 4  # times the vectors that centres were learnt from


@dataclass(frozen=True, slots=True)
class Indexed:
    """What the record says of an index.

    Attributes:
        file: Its name in the corpus' folder; empty for one that found too little to be used.
        space: Number of the encoder's vectors.
        slots: How many slots it knows, from 0 on.
        trained: How many there were when its lists were made.
        probes: Lists that a search looks into.
        wider: How many times as many as are wanted it names.
        recall: Measured when it was made or extended.
        crc: Of the file.
    """

    file: str
    space: int
    slots: int
    trained: int
    probes: int
    wider: int
    recall: float
    crc: int

    @classmethod
    def parse(cls, text: str) -> Indexed | None:
        """From the record; None where there is no index to be used."""
        tried = cls.tried(text)
        return tried if tried is not None and tried.file else None

    @classmethod
    def tried(cls, text: str) -> Indexed | None:
        """The same, with one that found too little."""
        return cls(**json.loads(text)) if text else None

    def __str__(self) -> str:
        return json.dumps(asdict(self))


def outgrown(indexed: Indexed, slots: int) -> bool:
    """Whether the corpus has grown so much that lists should be made anew."""
    return slots > RETRAIN * indexed.trained


def damage(folder: Path, indexed: Indexed) -> str:
    """Why the file of an index cannot be trusted; empty when it is what was written.

    Raises:
        OSError: It cannot be read now.
    """
    try:
        with (folder / indexed.file).open("rb") as data:
            if not os.fstat(data.fileno()).st_size:
                return "it was empty"
            with mmap.mmap(data.fileno(), 0, access=mmap.ACCESS_READ) as all:
                return "" if zlib.crc32(all) == indexed.crc else "it was damaged"
    except FileNotFoundError:
        return "it was missing"
