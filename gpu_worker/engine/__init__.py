"""The engine: algorithms run here, in a process of their own under the model's own interpreter.

Two sides share this folder. The parent's (`host`, `process`, `launch`, `output`, `calls`) starts the process
and speaks to it; it may import `shared`. Everything else runs inside the engine process and imports the
standard library, the model's own packages and its neighbours here, nothing more: no driver, no setting, no
credential.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 10):  # noqa: UP036  a model's interpreter is not ours to choose
    sys.exit(f"the engine needs Python 3.10 or newer; {sys.executable} is {sys.version.split()[0]}")
