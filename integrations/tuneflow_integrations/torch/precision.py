"""Mixed precision: autocast and the scaling of gradients, for whatever device a trial is on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from tuneflow.errors import InvalidArgument

__all__ = ["MixedPrecision"]

_TYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


class MixedPrecision:
    """Autocast and, for float16, a ``GradScaler`` with the steps around it in the right order.

    Give it to ``epochs`` or ``TorchCheckpoint`` like any other object: the scale is part of a training's state.

    Args:
        device: where the training runs, ``trial.device``.
        dtype: "bfloat16", "float16" or "float32" (which switches it off). Without one: bfloat16 where the device has
            it, else float16 on CUDA and bfloat16 elsewhere.
        scaler: options of ``torch.amp.GradScaler``.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> precision = MixedPrecision("cpu")
        >>> with precision.autocast():
        ...     loss = model(torch.ones(4, 2)).float().mean()
        >>> precision.step(loss, optimizer, clip_norm=1.0)
    """

    def __init__(self, device: Any = "cpu", dtype: str | torch.dtype | None = None, **scaler: Any) -> None:
        self.device_type = torch.device(device).type
        if dtype is None:
            lacks_bfloat16 = self.device_type == "cuda" and not torch.cuda.is_bf16_supported()
            dtype = torch.float16 if lacks_bfloat16 else torch.bfloat16
        if isinstance(dtype, str):
            if dtype not in _TYPES:
                raise InvalidArgument(f"dtype={dtype!r} must be one of {', '.join(_TYPES)}, or None")
            dtype = _TYPES[dtype]
        self.dtype = dtype
        self.is_enabled = dtype is not torch.float32
        self.scaler = torch.amp.GradScaler(self.device_type, enabled=dtype is torch.float16, **scaler)

    def autocast(self) -> Any:
        """A context in which the forward pass runs in ``dtype`` where that is safe."""
        return torch.autocast(self.device_type, dtype=self.dtype, enabled=self.is_enabled)

    def step(
        self,
        loss: Any,
        optimizer: torch.optim.Optimizer,
        *,
        clip_norm: float | None = None,
        parameters: Iterable[Any] | None = None,
    ) -> None:
        """Backward pass, unscaling, clipping, the optimizer's step, the scale's update, and gradients back to None.

        Args:
            loss: a scalar tensor.
            optimizer: steps unless a gradient is infinite or NaN, as float16's can be.
            clip_norm: clips the gradients' norm; after unscaling, as it has to be.
            parameters: whose gradients are clipped; the optimizer's where they are left out.
        """
        self.scaler.scale(loss).backward()
        if clip_norm is not None:
            self.scaler.unscale_(optimizer)
            clipped = parameters
            if clipped is None:
                clipped = [entry for group in optimizer.param_groups for entry in group["params"]]
            torch.nn.utils.clip_grad_norm_(clipped, clip_norm)
        self.scaler.step(optimizer)
        self.scaler.update()
        optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """The scale and how long it has been good; empty where nothing is scaled."""
        state: dict[str, Any] = self.scaler.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what ``state_dict`` returned; from a training in another precision nothing."""
        if state and self.scaler.is_enabled():
            self.scaler.load_state_dict(state)
