"""Which exceptions are told as the device's: their process is ended, and the job runs again elsewhere."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from gpu_worker.engine.failure import describe
from gpu_worker.engine.job import BadInputError, Retry

STICKY = "CUDA error: an illegal memory access was encountered"


def foreign(module: str, text: str, base: type[Exception] = RuntimeError) -> Exception:
    type_ = type("Foreign", (base,), {"__module__": module})
    error = type_(text)
    assert isinstance(error, Exception)
    return error


def kind(error: BaseException) -> str:
    return str(describe(error)["kind"])


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))


@pytest.mark.parametrize(
    "error",
    [
        foreign("onnxruntime.capi.onnxruntime_pybind11_state", "CUDA failure 700: illegal memory access"),
        foreign("torch", "CUDA out of memory. Tried to allocate 2.00 GiB"),
        foreign("torch", STICKY),
        foreign("jaxlib.xla_extension", f"INTERNAL: {STICKY}"),
        foreign("tensorflow.python.framework.errors_impl", "failed: CUDA_ERROR_ILLEGAL_ADDRESS", Exception),
        foreign("cupy_backends.cuda.api.runtime", "cudaErrorIllegalAddress: an illegal memory access"),
        foreign("numba.cuda.cudadrv.driver", "[700] cuMemcpyDtoH: CUDA_ERROR_ILLEGAL_ADDRESS"),
    ],
)
def test_what_the_driver_says_is_the_devices_whoever_repeats_it(error: Exception) -> None:
    assert kind(error) == "device"


@pytest.mark.parametrize(
    "text", [STICKY, "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED", "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"]
)
@pytest.mark.usefixtures("torch")
def test_torchs_plain_runtime_errors_are_known_by_their_words(text: str) -> None:
    assert kind(RuntimeError(text)) == "device"


@pytest.mark.usefixtures("torch")
def test_an_authors_own_error_does_not_hide_a_broken_device() -> None:
    def run(*, quiet: bool) -> None:
        try:
            raise RuntimeError(STICKY)
        except RuntimeError as error:
            raise ValueError("could not denoise") from (None if quiet else error)

    for quiet in (True, False):
        with pytest.raises(ValueError, match="denoise") as caught:
            run(quiet=quiet)
        assert kind(caught.value) == "device"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("this model has no CUDA path"), "algorithm"),
        (ValueError("CUDA is not supported here"), "algorithm"),
        (foreign("tensorflow.python.framework.errors_impl", "no kernel for CUDA", Exception), "algorithm"),
        (foreign("mine", STICKY), "algorithm"),
        (KeyError("CUDA"), "algorithm"),
    ],
)
@pytest.mark.usefixtures("torch")
def test_words_about_cuda_alone_are_not(error: Exception, said: str) -> None:
    assert kind(error) == said


def test_without_a_framework_nobody_repeats_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert kind(RuntimeError(STICKY)) == "algorithm"


@pytest.mark.parametrize(("wish", "said"), [(BadInputError, "bad_input"), (Retry, "retry")])
@pytest.mark.usefixtures("torch")
def test_what_an_author_asks_for_in_so_many_words_holds(wish: type[Exception], said: str) -> None:
    def run() -> None:
        try:
            raise foreign("torch", "CUDA out of memory. Tried to allocate 2.00 GiB")
        except RuntimeError as error:
            raise wish("a smaller picture, please") from error

    with pytest.raises(wish) as caught:
        run()
    assert kind(caught.value) == said
