"""The tree of commands, and what a failure becomes: one line, a hint, an exit code."""

from __future__ import annotations

import os
import sys
from importlib.metadata import PackageNotFoundError, version

from cyclopts import App, CycloptsError

from gateway.client.cli.exits import FAILED, INTERRUPTED, OK, USAGE, UsageError, exit_code_of, report
from gateway.client.errors import InputError, LeveretError

_ROOM = "gateway.client.cli"


def _version() -> str:
    try:
        return version("leveret")
    except PackageNotFoundError:
        return "unknown (not installed)"


app = App(
    name="leveret",
    help="Deep-learning algorithms as a service: write one, try it, submit jobs, watch them.",
    help_epilogue="Exit codes: 0 ok, 1 a job or a check failed, 2 usage, 3 the gateway refused,"
    " 4 unreachable, 130 interrupted. The gateway: LEVERET_URL and LEVERET_API_KEY, else .leveret/env.",
    help_format="plaintext",
    version=_version,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
# By path, so that a command's own imports are paid by that command alone.
app.command(f"{_ROOM}.catalog:models", name="models", help="List the models, or start a new one.")
app.command(f"{_ROOM}.run:run", name="run", help="Run a model folder here, without any server.")
app.command(f"{_ROOM}.submit:submit", name="submit", help="Submit a job, wait for it, save its outputs.")
app.command(f"{_ROOM}.watch:watch", name="watch", help="Follow jobs until all have ended.")
app.command(f"{_ROOM}.job:job", name="job", help="Show one job.")
app.command(f"{_ROOM}.job:logs", name="logs", help="Show what the algorithm printed, per attempt.")
app.command(f"{_ROOM}.jobs:jobs", name="jobs", help="List jobs, newest first.")
app.command(f"{_ROOM}.retry:retry", name="retry", help="Run a job again, as a new job.")
app.command(f"{_ROOM}.failures:failures", name="failures", help="Show what failed lately, and why.")
app.command(f"{_ROOM}.job:cancel", name="cancel", help="Ask for the end of a job.")
app.command(f"{_ROOM}.crew:queues", name="queues", help="Show what waits in each queue; hold one.")
app.command(f"{_ROOM}.crew:workers", name="workers", help="Show who is at work, or send somebody away.")
app.command(f"{_ROOM}.scaler:scaler", name="scaler", help="Show, explain or override what the scaler does.")
app.command(f"{_ROOM}.keys:keys", name="keys", help="Show the API keys, make one, revoke one.")
app.command(
    f"{_ROOM}.demo:demo", name="demo", help="Kill a worker in the midst of a job; see that nothing is lost."
)
app.command(f"{_ROOM}.cost:cost", name="cost", help="Show what machines cost: used, paid and idle.")
app.command(f"{_ROOM}.doctor:doctor", name="doctor", help="Check every dependency and say what to fix.")


def run(arguments: list[str]) -> int:
    """Run one command line; returns the exit code."""
    try:
        code = app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        wrong = UsageError(" ".join(str(error).split()), error.command_chain or ())
        report(wrong, as_json="--json" in arguments)
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has left; at exit Python would complain that it cannot flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (LeveretError, OSError) as error:
        if "--debug" in arguments:
            raise
        failure = error if isinstance(error, LeveretError) else InputError(str(error))
        report(failure, as_json="--json" in arguments)
        return exit_code_of(failure)
    return OK if code is None else int(code)
