"""How this machine reaches the package registries, for the package clients of a build.

Nothing of it stays in an image: it is mounted for a step and gone with it.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
SOURCES = Path("/etc/apt")
PLACE = "/run"
_HANDED_ON = re.compile(
    r"(HTTPS?|NO|ALL)_PROXY|PIP_(INDEX_URL|EXTRA_INDEX_URL|PROXY|DEFAULT_TIMEOUT)", re.IGNORECASE
)
_URI = re.compile(r"^(?:URIs: *|deb +(?:\[[^\]]*\] +)?)(https?://\S+)", re.MULTILINE)
ASK_S = 30


def write(folder: Path) -> dict[str, str]:
    """Put what the clients need into `folder`, to be mounted at PLACE; returns the variables that name it."""
    folder.mkdir()
    (folder / "apt.conf").write_text(_fetching())
    (folder / "pip.conf").write_text(_indexes())
    handed_on = {name: value for name, value in os.environ.items() if _HANDED_ON.fullmatch(name)}
    named = {
        "APT_CONFIG": f"{PLACE}/apt.conf",
        "PIP_CONFIG_FILE": f"{PLACE}/pip.conf",
        "DEBIAN_FRONTEND": "noninteractive",
    }
    if CERTIFICATES.exists():
        (folder / "ca.crt").write_bytes(CERTIFICATES.read_bytes())
        named |= dict.fromkeys(("NODE_EXTRA_CA_CERTS", "PIP_CERT", "SSL_CERT_FILE"), f"{PLACE}/ca.crt")
    return handed_on | named


def debian_sources(suite: str) -> str | None:
    """This machine's own list of that release's packages, as `debian.sources`; None where it has none."""
    file = SOURCES / "sources.list.d" / "debian.sources"
    text = file.read_text() if file.exists() else ""
    return text if f"Suites: {suite}" in text else None


def debian_mirror() -> str | None:
    """Where this machine's Debian packages come from; None: where they usually do."""
    files = [SOURCES / "sources.list.d" / "debian.sources", SOURCES / "sources.list"]
    found = [uri for file in files if file.exists() for uri in _URI.findall(file.read_text())]
    return found[0] if found else None


def _fetching() -> str:
    """What this machine's apt says of how to fetch: proxies, certificates, dates. Nothing of what it runs."""
    told = _asked("apt-config", "dump")
    return "".join(
        f"{line}\n"
        for line in told.splitlines()
        if line.startswith("Acquire::") and "::Changelogs" not in line
    )


def _indexes() -> str:
    lines = ["[global]"]
    for line in _asked(sys.executable, "-m", "pip", "config", "list").splitlines():
        name, _, value = line.partition("=")
        addresses = [
            word for word in str(ast.literal_eval(value)).split() if word.startswith(("http:", "https:"))
        ]
        if name in {"global.index-url", "global.extra-index-url"} and addresses:
            lines.append(f"{name.removeprefix('global.')} = {' '.join(addresses)}")
    return "\n".join(lines) + "\n"


def _asked(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=ASK_S, check=False)
    return done.stdout
