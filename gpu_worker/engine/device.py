"""The device an engine runs on. A GPU that was asked for and is missing is an error, never a quiet CPU."""

from __future__ import annotations

import ctypes
import math
import os
from pathlib import Path

from gpu_worker.engine.job import DeviceMissingError
from gpu_worker.engine.launch import SHARE

_POOLS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
"""What OpenMP, OpenBLAS, MKL and PyTorch read, and TensorFlow."""
_CGROUP = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def require(device: str) -> None:
    """Make sure of the device.

    Raises:
        DeviceMissingError: "cuda" was asked for and the driver finds no GPU.
    """
    if device != "cuda":
        return
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise DeviceMissingError("device cuda: no NVIDIA driver here (libcuda.so.1 is missing)") from error
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        raise DeviceMissingError("device cuda: the NVIDIA driver finds no usable GPU")


def share_cores() -> None:
    """Keep libraries that open threads of their own to this process's share of the cores, before they load.

    Each of several engines would else take all of them, and so would one in a container with a quota. What
    the worker's own environment says stays as it is.
    """
    if (threads := cpu_threads()) < len(os.sched_getaffinity(0)):
        for name in _POOLS:
            os.environ.setdefault(name, str(threads))


def cpu_threads() -> int:
    """How many cores this process may really use: its affinity, bounded by the cgroup's quota; its share."""
    cores = len(os.sched_getaffinity(0))
    quota = _quota()
    usable = cores if quota is None else min(cores, math.ceil(quota))
    return max(1, usable // int(os.environ.get(SHARE, "1")))


def _quota() -> float | None:
    """The least of this process's own cgroup and those it lies in."""
    own = _CGROUP / _own_cgroup()
    folders = [own, *(folder for folder in own.parents if folder.is_relative_to(_CGROUP))]
    quotas = [quota for folder in folders if (quota := _quota_of(folder)) is not None]
    return min(quotas) if quotas else _quota_v1()


def _own_cgroup() -> str:
    try:
        lines = _OWN_CGROUP.read_text().splitlines()
    except OSError:
        return ""
    return next((line.removeprefix("0::").lstrip("/") for line in lines if line.startswith("0::/")), "")


def _quota_of(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1() -> float | None:
    try:
        quota = int((_CGROUP / "cpu/cpu.cfs_quota_us").read_text())
        period = int((_CGROUP / "cpu/cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 else None
