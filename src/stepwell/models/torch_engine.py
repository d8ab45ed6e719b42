"""Runs a cross-encoder by torch: in half precision on a GPU, batches as large as its memory."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import numpy as np

from stepwell.errors import ConfigurationError
from stepwell.models.pairs import Ids
from stepwell.models.protocols import Vectors

CPU_BUDGET = 2048
GPU_BUDGET = 2**18
# Of the free memory; other processes, and other batches of this one, may want theirs.
SHARE = 0.5


class TorchEngine:
    """A sequence-classification model of transformers.

    A batch that outgrows the memory is halved until it fits, and the budget with it. Half precision
    that overflows is given up for single, with a warning.
    """

    parallel = False

    def __init__(
        self, model: Any, /, *, device: str, pad: int, limit: int, half: bool | None = None
    ) -> None:
        """Move `model` to `device`; `half` None means on a GPU only."""
        self.device, self.pad, self.limit = device, pad, limit
        self._half = device.startswith("cuda") if half is None else half
        self._model = (model.half() if self._half else model.float()).to(device).eval()
        self._takes_kinds = _takes_kinds(model)
        self._most = GPU_BUDGET if device.startswith("cuda") else CPU_BUDGET
        self._lock = threading.Lock()
        self.step = 64 if device.startswith("cuda") else 16

    @property
    def backend(self) -> str:
        """``torch`` and the precision."""
        return "torch-fp16" if self._half else "torch-fp32"

    @property
    def budget(self) -> int:
        """Tokens in one batch: by free memory on a GPU, and never more than has failed."""
        if not self.device.startswith("cuda"):
            return self._most
        import torch

        free, _ = torch.cuda.mem_get_info(self.device)
        return max(min(self._most, int(free * SHARE / self._bytes_a_token())), 1)

    def run(self, ids: Ids, mask: Ids, kinds: Ids, /) -> Vectors:
        """Return one logit a row.

        Raises:
            ConfigurationError: A single row outgrows the device's memory.
        """
        with self._lock:
            values = self._fitting(ids, mask, kinds)
            if self._half and not np.isfinite(values).all():
                self._widen()
                values = self._fitting(ids, mask, kinds)
            return values

    def _fitting(self, ids: Ids, mask: Ids, kinds: Ids) -> Vectors:
        import torch

        try:
            return self._forward(ids, mask, kinds)
        except torch.OutOfMemoryError as error:
            if len(ids) == 1:
                message = f"a pair of {ids.size} tokens outgrows the memory of {self.device}"
                raise ConfigurationError(f"{message}; lower max_length") from error
        # Outside the handler, whose traceback would keep the failed batch in memory.
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()
        self._most = max(ids.size // 2, 1)
        middle = len(ids) // 2
        parts = [slice(None, middle), slice(middle, None)]
        return np.concatenate([self._fitting(ids[a], mask[a], kinds[a]) for a in parts])

    def _forward(self, ids: Ids, mask: Ids, kinds: Ids) -> Vectors:
        import torch

        inputs = {"input_ids": ids, "attention_mask": mask}
        if self._takes_kinds:
            inputs["token_type_ids"] = kinds
        with torch.inference_mode():
            tensors = {k: torch.from_numpy(v).to(self.device) for k, v in inputs.items()}
            made = self._model(**tensors).logits
            values: Vectors = made.float().cpu().numpy().reshape(-1)
            return values

    def _widen(self) -> None:
        warnings.warn(
            "the model overflows in half precision; it goes on in single, at half the speed",
            UserWarning,
            stacklevel=2,
        )
        self._half = False
        self._model = self._model.float()

    def _bytes_a_token(self) -> int:
        config = self._model.config
        wide = getattr(config, "intermediate_size", 4 * config.hidden_size)
        # The feed-forward layer is the widest; attention holds a row of the map a head.
        numbers = 2 * wide + 8 * config.hidden_size + 2 * config.num_attention_heads * 512
        return int(numbers * (2 if self._half else 4))


def _takes_kinds(model: Any) -> bool:
    return (getattr(model.config, "type_vocab_size", 0) or 0) > 1
