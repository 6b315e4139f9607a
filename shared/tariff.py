"""What an attempt is charged by: its worker's price, and the share that one slot has of the machine.

Pure: the standard library only. The arithmetic itself is in the statement that ends an attempt: a receipt is
written with it and never changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

CURRENCY = "USD"


@dataclass(slots=True, kw_only=True)
class Tariff:
    """Of one worker. Its price may become known, or another one, while the worker lives.

    Attributes:
        currency: Of all prices of this deployment, by ISO 4217.
        device: ``cpu`` or ``cuda``.
        slots: An attempt has one of so many.
        gpus: Of the machine, all slots' together.
        per_hour: What the machine costs; None: nobody has told.
    """

    currency: str = CURRENCY
    device: str = "cpu"
    slots: int = 1
    gpus: int = 0
    per_hour: Decimal | None = None


def money(amount: Decimal | None) -> str | None:
    """An amount as the API writes it: decimal digits, since JSON's numbers would not keep them."""
    return None if amount is None else format(amount.normalize(), "f")
