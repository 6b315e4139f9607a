"""A decision of the scaler in words, with the numbers it rests on. Standard library only.

The inputs are told as far as they are there: an older decision may know less, a newer one more.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from gateway.client.cli.units import MISSING, clock, count, span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

UNKNOWN = "unknown"


def tell(decision: Mapping[str, Any]) -> Iterator[str]:
    """One decision, the line that matters first."""
    yield f"#{decision['id']}  {clock(decision['at'])}  {outcome(decision)}"
    yield f"  {decision['reason']}"
    for name, words in numbers(decision.get("inputs") or {}):
        yield f"    {name:<9} {words}"


def outcome(decision: Mapping[str, Any]) -> str:
    """What was wanted, what was there, and what was done: `wants 3, has 2: starts 1`."""
    want = decision["want"]
    wanted = "holds" if want is None else f"wants {want}"
    return f"{wanted}, has {decision['have']}: {_done(decision.get('actions') or {})}"


def _done(actions: Mapping[str, Any]) -> str:
    parts = [f"starts {actions['launch']}"] if actions.get("launch") else []
    parts += [
        f"{verb} {', '.join(map(str, actions[name]))}"
        for name, verb in (("drain", "drains"), ("terminate", "terminates"))
        if actions.get(name)
    ]
    return ", ".join(parts) or "does nothing"


def numbers(inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The parts of a snapshot, by name; one that could not be had says so."""
    tellers: dict[str, Callable[[Any], str]] = {
        "demand": _demand,
        "workers": _workers,
        "machines": _machines,
        "broker": _broker,
        "pace": _pace,
        "failures": _failures,
        "spending": _spending,
        "look": _look,
    }
    for name, teller in tellers.items():
        part = inputs.get(name)
        if part == UNKNOWN:
            yield name, UNKNOWN
        elif part is not None and (words := teller(part)):
            yield name, words


def _demand(demand: Mapping[str, Any]) -> str:
    tiers = demand.get("tiers") or {}
    parts = [
        f"{name} {each['waiting']} waiting, oldest {span(each.get('oldest_s'))}"
        for name, each in tiers.items()
        if each.get("waiting")
    ]
    return "; ".join([*(parts or ["nothing waits"]), f"{demand.get('running', 0)} running"])


def _workers(workers: list[Mapping[str, Any]]) -> str:
    # A worker that was asked to drain may not have heard of it yet.
    states = Counter("draining" if each.get("drain") else str(each.get("state")) for each in workers)
    busy = sum(1 for each in workers if each.get("busy"))
    return ", ".join([*(f"{many} {state}" for state, many in states.items()), f"{busy} busy"])


def _machines(machines: list[Mapping[str, Any]]) -> str:
    living = [each for each in machines if each.get("alive", True)]
    doomed = sum(1 for each in living if each.get("doomed"))
    told = f"{len(living)} alive, {len(machines) - len(living)} ended lately"
    return f"{told}, {doomed} about to be taken away" if doomed else told


def _broker(broker: Mapping[str, Any]) -> str:
    return f"{count(broker.get('ready'), 'message')} ready, {count(broker.get('consumers'), 'consumer')}"


def _pace(pace: Mapping[str, Any]) -> str:
    return f"a job takes {span(pace.get('service_s'))}, a boot {span(pace.get('boot_s'))}"


def _failures(failures: Mapping[str, Any]) -> str:
    failed = failures.get("count")
    return f"the last {count(failed, 'launch attempt')} came to nothing" if failed else ""


def _spending(spent: Mapping[str, Any]) -> str:
    """Money an hour, before and after what was decided."""
    now = _per_hour(spent.get("now"), spent.get("unpriced"))
    then = _per_hour(spent.get("then"), spent.get("unpriced_then"))
    return now if now == then else f"{now}; when it is carried out {then}"


def _look(look: Mapping[str, Any]) -> str:
    bound = f"; asked for {look['asked']}, bound by {look['bound']}" if look.get("bound") else ""
    return f"limits {range_words(look)}{bound}"


def wants_words(look: Mapping[str, Any] | None) -> str:
    """What the scaler aims at, and which limit made it so: `4 (max)`; a dash where nobody knows."""
    if look is None or look.get("want") is None or look.get("fresh") is False:
        return MISSING
    return f"{look['want']} ({look['bound']})" if look.get("bound") else str(look["want"])


def there_words(there: Mapping[str, Any] | None) -> str:
    """Who is there: `3 serve, 1 starts`; a dash where an older gateway does not tell."""
    if there is None:
        return MISSING
    parts = [f"{there[name]} {words[there[name] != 1]}" for name, words in _CREW.items() if there[name]]
    return ", ".join(parts) or "nobody"


_CREW = {"serving": ("serves", "serve"), "starting": ("starts", "start"), "draining": ("leaves", "leave")}


def range_words(limits: Mapping[str, Any] | None) -> str:
    """The limits in force: `0 to 4`; a dash where no scaler ever looked."""
    return MISSING if limits is None else f"{limits['min']} to {limits['max']}"


def _per_hour(amount: str | None, unpriced: int | None) -> str:
    told = f"{MISSING if amount is None else amount} an hour"
    return f"{told} beside {count(unpriced, 'machine')} without a price" if unpriced else told
