"""`TopK`: keep the first k."""

from __future__ import annotations

from stepwell.candidates import Candidates, check_k
from stepwell.stages.needs import need_candidates


class TopK:
    """Keeps the first k; what it cuts stays cut, even when more documents are asked for.

    Args:
        k: How many to keep.
        name: Shown in the trace.

    Raises:
        ConfigurationError: k is below 1.
    """

    decides = True
    guards = True

    def __init__(self, k: int, *, name: str = "top-k") -> None:
        self.name = name
        self.k = check_k(k)

    def __repr__(self) -> str:
        return f"TopK({self.k})"

    def run(self, candidates: Candidates, /) -> Candidates:
        """Cut."""
        need_candidates(candidates, self.name)
        return candidates.top(self.k)
