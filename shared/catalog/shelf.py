"""The catalog as it is now: looked at again and again, and never worse than it was.

- Unchanged: nothing happens.
- Wrong, empty, or not to be reached: what is on the shelf stays; the log and a gauge say what is wrong.
- A new version: offered, one of a name that has another version already a look later if `lag` says so.
- A version is gone: no longer offered.
- A version was altered in place: the first one stays. What a version is never changes while a process lives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

import structlog
from prometheus_client import Counter, Gauge

from shared.catalog.loading import Catalog
from shared.catalog.model import Model
from shared.catalog.reading import Reading, Source, Stamp
from shared.errors import LeveretError

log = structlog.get_logger()

MODELS = Gauge("leveret_catalog_models", "Models and versions on offer")
PROBLEMS = Gauge("leveret_catalog_problems", "Things wrong with the catalog at the last look; 0 is well")
LOOKS = Counter("leveret_catalog_looks_total", "Looks at the catalog by what they found", ["found"])

Adopt = Callable[[Catalog], Awaitable[None]]


class Shelf:
    """The models on offer; to be asked like a catalog.

    Args:
        source: Where they come from.
        refresh_s: Seconds between two looks; 0: never again.
        adopt: Told of every new state before it is offered here.
        lag: Offer a new version of a known name one look later. For who hands out work: whoever does the work
            looks as often, and so knows the version by then.
    """

    def __init__(self, source: Source, *, refresh_s: float, adopt: Adopt, lag: bool = False) -> None:
        self._source = source
        self._refresh_s = refresh_s
        self._adopt = adopt
        self._lag = lag
        self._latest = Reading(Catalog())
        self._vanished = False
        self._now = Catalog()
        self._known: dict[str, tuple[Model, Stamp]] = {}
        self._told: frozenset[str] = frozenset()

    @property
    def models(self) -> tuple[Model, ...]:
        """All on offer."""
        return self._now.models

    def find(self, ref: str) -> Model | None:
        """The model of `name@version`, or the newest version of `name` on offer; None when there is none."""
        return self._now.find(ref)

    async def open(self) -> None:
        """Look for the first time.

        Raises:
            CatalogError: The catalog is wrong.
            StoreError: It can't be reached.
        """
        self._latest = await self._source.read() or self._latest
        self._tell(self._latest.faults)
        await self._offer(self._accepted())

    async def run(self) -> None:
        """Look again, for ever; at once over if nobody wants that."""
        while self._refresh_s:
            await asyncio.sleep(self._refresh_s)
            await self.look()

    async def look(self) -> None:
        """Look once. What is wrong with the catalog is told, and changes nothing here."""
        try:
            reading = await self._source.read()
        except LeveretError as error:
            LOOKS.labels("wrong").inc()
            self._tell({"catalog": str(error)})
            return
        LOOKS.labels("unchanged" if reading is None else "changed").inc()
        if reading is not None:
            self._vanished = not (reading.catalog.models or reading.faults)
        if self._vanished:
            self._tell({"catalog": _EMPTY})
            return
        self._latest = reading or self._latest
        before = set(self._known)
        models = self._accepted()
        await self._offer(list(self._ripe(models, before)) if self._lag else models)

    def _accepted(self) -> list[Model]:
        """What was read, with the first state of each version in place of a later one."""
        altered = {model.ref for model in self._latest.catalog.models if self._is_altered(model)}
        self._tell({**self._latest.faults, **dict.fromkeys(altered, _ALTERED)})
        models = [self._kept(model, altered) for model in self._latest.catalog.models]
        here = {model.ref for model in models}
        faulty = self._latest.faults.keys() & self._known.keys() - here
        return models + [self._known[ref][0] for ref in sorted(faulty)]

    def _kept(self, model: Model, altered: Iterable[str]) -> Model:
        if model.ref in altered:
            return self._known[model.ref][0]
        self._known[model.ref] = (model, self._latest.stamps.get(model.ref, ()))
        return model

    def _is_altered(self, model: Model) -> bool:
        if model.ref not in self._known:
            return False
        first, stamp = self._known[model.ref]
        if _table(first) != _table(model):
            return True
        if first.digests is not None and model.digests is not None:
            return first.digests != model.digests
        return first.folder == model.folder and stamp != self._latest.stamps.get(model.ref, ())

    def _ripe(self, models: list[Model], before: set[str]) -> Iterable[Model]:
        """Leave out versions seen for the first time where their name has an older acquaintance."""
        names = {model.name for model in models if model.ref in before}
        return (model for model in models if model.ref in before or model.name not in names)

    async def _offer(self, models: Iterable[Model]) -> None:
        catalog = Catalog(tuple(models))
        if catalog == self._now:
            return
        await self._adopt(catalog)
        self._now = catalog
        MODELS.set(len(catalog.models))
        log.info("catalog.offered", models=[model.ref for model in catalog.models])

    def _tell(self, problems: Mapping[str, str]) -> None:
        """Each problem is logged once for as long as it lasts."""
        PROBLEMS.set(len(problems))
        for what, why in problems.items():
            if f"{what}: {why}" not in self._told:
                log.error("catalog.wrong", what=what, reason=why)
        self._told = frozenset(f"{what}: {why}" for what, why in problems.items())


_EMPTY = "there is no model in it any more, which looks like a disk that is away: nothing is changed"
_ALTERED = "its files were changed, which has no effect here; raise `version` in model.toml"


def _table(model: Model) -> dict[str, object]:
    return model.model_dump(exclude={"folder", "digests"})
