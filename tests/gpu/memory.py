"""How much of the GPU's memory is taken, by everybody together, as the driver says."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


@contextmanager
def driver() -> Iterator[ctypes.CDLL]:
    """The driver's management library, which comes with every driver."""
    library = ctypes.CDLL("libnvidia-ml.so.1")
    assert library.nvmlInit_v2() == 0
    try:
        yield library
    finally:
        library.nvmlShutdown()


def used_bytes(index: int = 0) -> int:
    """Of the first GPU."""
    memory, device = _Memory(), ctypes.c_void_p()
    with driver() as library:
        assert library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)) == 0
        assert library.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) == 0
    return int(memory.used)


def device_name(index: int = 0) -> str:
    """Such as "NVIDIA L4", with the driver's version."""
    name, version, device = (
        ctypes.create_string_buffer(96),
        ctypes.create_string_buffer(80),
        ctypes.c_void_p(),
    )
    with driver() as library:
        assert library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device)) == 0
        assert library.nvmlDeviceGetName(device, name, len(name)) == 0
        assert library.nvmlSystemGetDriverVersion(version, len(version)) == 0
    return f"{name.value.decode()}, driver {version.value.decode()}"
