"""Ready-made handlers, and the names an algorithm may import. Runs in the engine process.

from gpu_worker.handlers import BadInput, Retry
"""

from __future__ import annotations

from gpu_worker.engine.handler import LoadContext
from gpu_worker.engine.job import BadInputError as BadInput
from gpu_worker.engine.job import Job, Retry

__all__ = ["BadInput", "Job", "LoadContext", "Retry"]
