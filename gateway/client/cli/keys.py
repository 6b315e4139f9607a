"""`leveret keys`: who has an API key, making one, ending one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from gateway.client.cli.exits import OK, UsageError, printable
from gateway.client.cli.session import NO_OPTIONS, Common, print_json
from gateway.client.cli.units import MISSING, clock

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

keys = App(
    name="keys",
    help="Show the API keys, make one, revoke one. For operators.",
    help_format="plaintext",
    result_action="return_value",
)

_SPAN = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@keys.default
async def list_keys(
    *, ended: Annotated[bool, Parameter(negative="")] = False, common: Common = NO_OPTIONS
) -> int:
    """Show who has a key, and when it was used last.

    Args:
        ended: Those that were revoked as well.
        common: Options of every command.
    """
    async with common.client() as client:
        found = [key for key in await client.keys() if ended or key["revoked_at"] is None]
    if common.json:
        print_json({"keys": found})
    else:
        _print_keys(found)
    return OK


@keys.command
async def create(
    name: str,
    /,
    *,
    tenant: str | None = None,
    role: Literal["user", "operator"] = "user",
    expires: str | None = None,
    common: Common = NO_OPTIONS,
) -> int:
    """Make a key and print it, this once.

    Args:
        name: To tell keys apart.
        tenant: Whose it is, made if it is new; your own by default.
        role: An operator sees and does what concerns all tenants.
        expires: Until it ends by itself: 30d, 12h.
        common: Options of every command.
    """
    said = {"role": role, "tenant": tenant, "expires_in_s": _seconds(expires)}
    async with common.client() as client:
        issued = await client.create_key(
            name, **{key: value for key, value in said.items() if value is not None}
        )
    if common.json:
        print_json(issued)
    else:
        print(issued["secret"])  # noqa: T201  and nothing else, so that a script can take it
    return OK


@keys.command
async def revoke(key_id: str, /, common: Common = NO_OPTIONS) -> int:
    """End a key: whoever uses it, or is logged in with it, is refused within ten seconds.

    Args:
        key_id: The key's id, as `leveret keys` shows it.
        common: Options of every command.
    """
    async with common.client() as client:
        key = await client.revoke_key(key_id)
    if common.json:
        print_json(key)
    else:
        _say(f"the key {key['name']} of {key['tenant']} ({key['prefix']}…) was revoked")
    return OK


def _seconds(text: str | None) -> int | None:
    if text is None:
        return None
    found = _SPAN.fullmatch(text)
    if found is None:
        raise UsageError(f"--expires is a number and a unit, as in 30d or 12h, and not {text!r}", ("keys",))
    return int(found[1]) * _UNITS[found[2]]


def _say(line: str) -> None:
    from gateway.client.cli.show import console  # noqa: PLC0415  only for a terminal

    console().print(printable(line), markup=False)


def _print_keys(found: Sequence[Mapping[str, Any]]) -> None:
    from gateway.client.cli.show import console, table  # noqa: PLC0415  only for a terminal

    shown = table("id", "tenant", "name", "role", "key", "made", "last used", "ends")
    for key in found:
        shown.add_row(
            key["id"],
            printable(key["tenant"]),
            printable(key["name"]) + (" (yours)" if key["mine"] else ""),
            key["role"],
            f"{printable(key['prefix'])}…",
            clock(key["created_at"]),
            clock(key["last_used_at"]),
            _end(key),
        )
    console().print(shown, markup=False)


def _end(key: Mapping[str, Any]) -> str:
    if key["revoked_at"]:
        return f"revoked {clock(key['revoked_at'])}"
    return clock(key["expires_at"]) if key["expires_at"] else MISSING
