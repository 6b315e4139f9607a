"""Which pages may act in a browser's name. Pure: a decision about two headers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class Origins:
    """Knows its own pages.

    Args:
        base_url: The gateway's public address.
        listed: Origins of others that may open sockets.
    """

    def __init__(self, base_url: str, listed: Iterable[str] = ()) -> None:
        self._own = "/".join(base_url.split("/", 3)[:3])
        self._listed = frozenset(listed)

    def own(self, headers: Mapping[str, str]) -> bool:
        """Whether a page of this gateway speaks: under its public address, or under the one it was asked at.

        A browser cannot be made to send another Host than the Origin's without being another site, whose
        requests carry no cookie of ours.
        """
        origin = headers.get("origin", "")
        place = origin.partition("://")[2]
        return bool(place) and (origin == self._own or place == headers.get("host"))

    def admitted(self, headers: Mapping[str, str]) -> bool:
        """Whether a socket may be opened: by a program (which sends no Origin), by our pages or listed ones.

        Browsers let any page open a socket anywhere.
        """
        return "origin" not in headers or self.own(headers) or headers["origin"] in self._listed
