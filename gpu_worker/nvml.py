"""Names and memory of NVIDIA cards, asked of the driver's own library (NVML), which makes no CUDA context."""

from __future__ import annotations

import ctypes
import os
from typing import Any

_LIBRARY = "libnvidia-ml.so.1"
_SUCCESS = 0
_NAME_BYTES = 96


class _Memory(ctypes.Structure):
    """nvmlMemory_t, bytes."""

    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


class Cards:
    """Asks for a card's name and memory; without a driver it knows none.

    Args:
        library: NVML; None: loaded when first needed.
    """

    def __init__(self, library: Any = None) -> None:
        self._library = library
        self._tried = False

    def memory(self, gpu: str | None) -> tuple[float, float] | None:
        """Used and total bytes of one card; None where that cannot be known.

        Args:
            gpu: As CUDA_VISIBLE_DEVICES names it, by number or UUID; None: the first that is visible here.
        """
        library, handle = self._opened(), ctypes.c_void_p()
        if library is None or self._find(library, gpu or _first(), handle) != _SUCCESS:
            return None
        memory = _Memory()
        if library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) != _SUCCESS:
            return None
        return float(memory.used), float(memory.total)

    def name(self, gpu: str | None) -> str | None:
        """What one card calls itself; None where that cannot be known.

        Args:
            gpu: As for `memory`.
        """
        library, handle = self._opened(), ctypes.c_void_p()
        if library is None or self._find(library, gpu or _first(), handle) != _SUCCESS:
            return None
        name = ctypes.create_string_buffer(_NAME_BYTES)
        if library.nvmlDeviceGetName(handle, name, _NAME_BYTES) != _SUCCESS:
            return None
        return name.value.decode(errors="replace") or None

    def _opened(self) -> Any:
        if not self._tried:
            self._tried = True
            self._library = _started(self._library)
        return self._library

    def _find(self, library: Any, gpu: str, handle: ctypes.c_void_p) -> int:
        """NVML counts the cards as CUDA does with CUDA_DEVICE_ORDER=PCI_BUS_ID, or where all are alike."""
        if gpu.isdecimal():
            number = ctypes.c_uint(int(gpu))
            return int(library.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(handle)))
        return int(library.nvmlDeviceGetHandleByUUID(gpu.encode(), ctypes.byref(handle)))


def _first() -> str:
    return os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() or "0"


def _started(library: Any) -> Any:
    try:
        library = library or ctypes.CDLL(_LIBRARY)
    except OSError:
        return None
    return library if library.nvmlInit_v2() == _SUCCESS else None
