"""`python -m gpu_worker.engine serve` (started by a worker) and `… local` (the author's loop)."""

from __future__ import annotations

import argparse
import sys


def main(arguments: list[str]) -> int:
    """Choose the side to run."""
    if arguments[:1] == ["local"]:
        from gpu_worker.engine.local import main as local  # noqa: PLC0415  one side loads only its own

        return local(arguments[1:])
    parser = argparse.ArgumentParser(prog="python -m gpu_worker.engine")
    parser.add_argument("command", choices=["serve", "local"])
    parser.add_argument("--fd", type=int, required=True, help="the inherited socket to the worker")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    chosen = parser.parse_args(arguments)
    from gpu_worker.engine.keeper import keep  # noqa: PLC0415  idem

    keep(chosen.fd)
    from gpu_worker.engine.device import share_cores  # noqa: PLC0415  the keeper needs none of it

    share_cores()
    from gpu_worker.engine.service import serve  # noqa: PLC0415  idem

    serve(chosen.fd, chosen.device)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
