"""Traces: which spans a job's way leaves, as the rest of the code sees it. No OpenTelemetry in here.

A trace begins with a submit, or with the `traceparent` that came with it. Its context is kept with the job
and sent with its message, so whoever has either of them adds to the same trace; who has none makes no spans.
So the one who samples is the gateway, and with tracing off everything here is a look at a constant.

A span is made when what it tells of has ended: a plain record, handed to a `Keep` (see `export`), which must
not block. Its attributes are few and known: no parameter, address, message text, traceback or key is there.
"""

from __future__ import annotations

import enum
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from shared.errors import LeveretError
from shared.telemetry.tracecontext import Context, new_trace

Value = str | int | float | bool
Attributes = Mapping[str, Value]


class Kind(enum.IntEnum):
    """OpenTelemetry's kinds of spans, with its numbers."""

    INTERNAL = 0
    SERVER = 1
    CLIENT = 2
    PRODUCER = 3
    CONSUMER = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A span, whole.

    Attributes:
        parent: None for the first span of a trace.
        start_ns: Since 1970.
        end_ns: Since 1970.
        links: Other spans that it has to do with.
        error: A stable code where it failed, else empty.
        remote: Its parent is another process's.
    """

    name: str
    kind: Kind
    context: Context
    parent: Context | None
    start_ns: int
    end_ns: int
    attributes: Attributes
    links: Sequence[Context] = ()
    error: str = ""
    remote: bool = False


Keep = Callable[[Ended], None]


class Span(Protocol):
    """Something under way. As a context it ends with its block, failed where that raised."""

    @property
    def context(self) -> Context | None:
        """For its children; None where nothing is traced."""

    def rename(self, name: str) -> None:
        """Its name is known only now."""

    def note(self, name: str, value: Value) -> None:
        """Add an attribute."""

    def fail(self, code: str) -> None:
        """It did not succeed."""

    def end(self) -> None:
        """It is over."""

    def __enter__(self) -> Self:
        """It is under way already."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""


class Tracing(Protocol):
    """Makes spans, or nothing."""

    @property
    def on(self) -> bool:
        """Whether anything is traced: a reason to skip what costs more than a call of `span`."""

    def span(
        self,
        name: str,
        parent: Context | None,
        *,
        kind: Kind = Kind.INTERNAL,
        attributes: Attributes | None = None,
        links: Sequence[Context] = (),
        remote: bool = False,
    ) -> Span:
        """Begin a span below a parent; without one, or in a trace that is not recorded, it is nothing."""

    def first(self, name: str, parent: Context | None, *, kind: Kind) -> Span:
        """Begin the first span of this system: below the caller's, or as a new trace if chance wants it."""

    def tell(self, span: Ended) -> None:
        """Add a span that has ended, in a trace that is recorded."""


class _Nothing:
    """A span that nobody wants to see. One for all."""

    __slots__ = ()
    context: Context | None = None

    def rename(self, name: str) -> None: ...

    def note(self, name: str, value: Value) -> None: ...

    def fail(self, code: str) -> None: ...

    def end(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


NOTHING: Span = _Nothing()


class NoTracing:
    """Tracing that is off."""

    on = False

    def span(self, *_: object, **__: object) -> Span:
        """Nothing."""
        return NOTHING

    def first(self, *_: object, **__: object) -> Span:
        """Nothing."""
        return NOTHING

    def tell(self, span: Ended) -> None:
        """To nobody."""


OFF: Tracing = NoTracing()


class Recorded:
    """A span that will be told."""

    __slots__ = (
        "_attributes",
        "_began_ns",
        "_error",
        "_keep",
        "_kind",
        "_links",
        "_name",
        "_parent",
        "_remote",
        "context",
    )

    def __init__(
        self,
        keep: Keep,
        name: str,
        context: Context,
        parent: Context | None,
        *,
        kind: Kind,
        attributes: Attributes | None = None,
        links: Sequence[Context] = (),
        remote: bool = False,
    ) -> None:
        self.context: Context | None = context
        self._keep = keep
        self._name, self._parent, self._kind = name, parent, kind
        self._attributes: dict[str, Value] = dict(attributes or ())
        self._links, self._remote = links, remote
        self._error = ""
        self._began_ns = time.time_ns()

    def rename(self, name: str) -> None:
        """Its name is known only now."""
        self._name = name

    def note(self, name: str, value: Value) -> None:
        """Add an attribute."""
        self._attributes[name] = value

    def fail(self, code: str) -> None:
        """It did not succeed."""
        self._error = code

    def end(self) -> None:
        """It is over."""
        if self.context is None:  # a copy of the protocol's type; it always has one
            return
        self._keep(
            Ended(
                name=self._name,
                kind=self._kind,
                context=self.context,
                parent=self._parent,
                start_ns=self._began_ns,
                end_ns=max(self._began_ns, time.time_ns()),
                attributes=self._attributes,
                links=self._links,
                error=self._error,
                remote=self._remote,
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is not None and not self._error:
            self.fail(code_of(error))
        self.end()


class SampledTracing:
    """Tracing that is on.

    Args:
        keep: Takes what has ended; never blocks.
        ratio: The share of submits without a `traceparent` that begin a trace.
        chance: 0 … 1, below 1.
    """

    on = True

    def __init__(self, keep: Keep, *, ratio: float, chance: Callable[[], float] = random.random) -> None:
        self._keep = keep
        self._ratio = ratio
        self._chance = chance

    def span(
        self,
        name: str,
        parent: Context | None,
        *,
        kind: Kind = Kind.INTERNAL,
        attributes: Attributes | None = None,
        links: Sequence[Context] = (),
        remote: bool = False,
    ) -> Span:
        """Begin a span, if its trace is recorded."""
        if parent is None or not parent.sampled:
            return NOTHING
        return Recorded(
            self._keep,
            name,
            parent.child(),
            parent,
            kind=kind,
            attributes=attributes,
            links=links,
            remote=remote,
        )

    def first(self, name: str, parent: Context | None, *, kind: Kind) -> Span:
        """Begin the first span of this system."""
        if parent is not None:
            return self.span(name, parent, kind=kind, remote=True)
        if self._chance() >= self._ratio:
            return NOTHING
        return Recorded(self._keep, name, new_trace(), None, kind=kind)

    def tell(self, span: Ended) -> None:
        """Add a span that has ended."""
        self._keep(span)


def code_of(error: BaseException) -> str:
    """What a span may say of an error: its code or its class, and none of its words."""
    return error.code if isinstance(error, LeveretError) else type(error).__name__
