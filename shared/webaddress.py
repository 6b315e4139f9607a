"""Which addresses of the web a job's input may name. Pure: decisions about strings and numbers, no look-ups.

The gateway asks before a job is accepted, the worker asks again before it connects: one reading of an address
for both, so that nothing means one host to the one and another host to the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

SCHEME = "https://"
HTTPS_PORT = 443
MAX_NAME = 253
NO_HOST = "names no host that there can be"

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_SHAPE = re.compile(
    r"""https://
    (?: \[ (?P<six>[0-9A-Fa-f:.]+) ] | (?P<name>[A-Za-z0-9._-]+) )
    (?: : (?P<port>[0-9]{1,5}) )?
    (?P<target> (?:[/?] [\x21-\x7e]* )? )""",
    re.VERBOSE,
)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")

_UNICAST = ip_network("2000::/3")
"""All of IPv6 that anybody was given; mapped, compatible, NAT64, site-local and the like lie outside."""
_NOT_OF_THE_WEB = tuple(
    ip_network(network)
    for network in (
        "168.63.129.16/32",  # a public address in form, Azure's platform service from within
        "192.0.0.0/24",  # protocol assignments; one cloud's metadata service among them
        "192.88.99.0/24",  # 6to4 relays
        "224.0.0.0/4",  # multicast, of which Python calls the most part global
        "2001::/23",  # protocol assignments, Teredo's embedded IPv4 addresses among them
        "2002::/16",  # 6to4: an IPv4 address, perhaps a private one, in IPv6's clothes
        "3fff::/20",  # documentation
    )
)


@dataclass(frozen=True, slots=True)
class WebAddress:
    """Where a file lies.

    Attributes:
        host: A name in lower case, or an IP address without brackets.
        port: Of TCP.
        target: Path and query, as they are sent.
    """

    host: str
    port: int
    target: str

    @property
    def literal(self) -> Address | None:
        """The host where it is an IP address."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None

    @property
    def authority(self) -> str:
        """Host and port as the header `Host` wants them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == HTTPS_PORT else f"{host}:{self.port}"

    def __str__(self) -> str:
        """Without the query, where signatures are: for messages and logs."""
        return f"{SCHEME}{self.authority}{self.target.partition('?')[0]}"


def read(uri: str) -> WebAddress:
    """Take an address apart.

    Raises:
        ValueError: It is none that an input may have; says why.
    """
    found = _SHAPE.fullmatch(uri)
    if found is None or "#" in found["target"]:
        raise ValueError(_objection(uri))
    port = int(found["port"] or HTTPS_PORT)
    if not 0 < port < 2**16:
        raise ValueError("names no port that there is")
    target = found["target"]
    return WebAddress(_host(found), port, target if target.startswith("/") else f"/{target}")


def forbidden(address: Address, allowed: Iterable[Network] = ()) -> bool:
    """Whether no job may make this installation connect there.

    Everything is, but what is public on the Internet, and what the operator allowed: private and link-local
    networks, the clouds' metadata services, multicast, and every form of IPv6 that wraps an IPv4 address.
    """
    if any(address in network for network in allowed):
        return False
    if address.version == 6 and address not in _UNICAST:  # noqa: PLR2004  the protocol's number
        return True
    return not address.is_global or any(address in network for network in _NOT_OF_THE_WEB)


def _host(found: re.Match[str]) -> str:
    if found["six"] is not None:
        return str(_number(found["six"]))
    name = found["name"].lower()
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return str(_number(name))
    if len(name) > MAX_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(NO_HOST)
    return name


def _number(text: str) -> Address:
    """Resolvers read 127.1, 0x7f.1 and 2130706433 as addresses too: here only the plain form is one."""
    try:
        return ip_address(text)
    except ValueError:
        raise ValueError(NO_HOST) from None


def _objection(uri: str) -> str:
    if not uri.startswith(SCHEME):
        return "must be an https:// address"
    if not uri.isascii() or not uri.isprintable() or " " in uri:
        return "must be plain ASCII: percent-encode the path, and write the host as punycode"
    authority = re.split(r"[/?#]", uri.removeprefix(SCHEME), maxsplit=1)[0]
    if "@" in authority:
        return "must not carry a user name or password"
    return "must not have a fragment" if "#" in uri else "must be https://host/path"
