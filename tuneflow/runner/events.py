"""What a trial tells its driver, as bytes. Nothing in them makes the driver start CUDA."""

from __future__ import annotations

import io
import pickle
import sys
from typing import Any

__all__ = ["pack_event"]


def pack_event(event: Any) -> bytes:
    """An event for the driver; what it holds may be defined in ``__main__``, which is another module there.

    A tensor on a GPU crosses as a copy in host memory: read as it is, it would start CUDA in the driver, on whatever
    device has its number there.
    """
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    has_tensors = cuda is not None and cuda.is_initialized()
    stream = io.BytesIO()
    try:
        if not has_tensors:
            return pickle.dumps(event, pickle.HIGHEST_PROTOCOL)
        _Pickler(stream, pickle.HIGHEST_PROTOCOL).dump(event)
    except Exception:
        import cloudpickle

        if not has_tensors:
            packed: bytes = cloudpickle.dumps(event)
            return packed

        class ByValue(cloudpickle.Pickler):  # type: ignore[misc]
            def reducer_override(self, obj: Any) -> Any:
                found = _on_host(obj)
                return super().reducer_override(obj) if found is NotImplemented else found

        stream = io.BytesIO()
        ByValue(stream).dump(event)
    return stream.getvalue()


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        return _on_host(obj)


def _on_host(obj: Any) -> Any:
    torch = sys.modules["torch"]
    if not isinstance(obj, torch.Tensor) or obj.device.type != "cuda":
        return NotImplemented
    copy = obj.detach().cpu()
    if isinstance(obj, torch.nn.Parameter):
        copy = torch.nn.Parameter(copy, requires_grad=obj.requires_grad)
    return copy.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
