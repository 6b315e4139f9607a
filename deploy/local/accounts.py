"""Which account a server runs as, and a folder that account can reach.

PostgreSQL and RabbitMQ refuse root or misbehave under it. A checkout may lie in a home folder of mode 0700,
which no other account can enter: the data then lives under /var/lib.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
from pathlib import Path

ELSEWHERE = Path("/var/lib")
"""Nobody cleans it up by age, as happens to /var/tmp; only root needs it, and may write there."""


def account_for(server: str) -> str | None:
    """The account a server drops to: its package's own, else nobody; None (keep mine) unless root."""
    if os.geteuid() != 0:
        return None
    for name in (server, "nobody"):
        if _exists(name):
            return name
    return None


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def data_root(folder: Path) -> Path:
    """Where servers of this stack keep their data: inside `folder`, or under /var/lib if that is closed."""
    if os.geteuid() != 0 or _open_to_all(folder.resolve()):
        return folder / "data"
    return ELSEWHERE / f"leveret-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]}"


def _open_to_all(folder: Path) -> bool:
    return all(place.stat().st_mode & stat.S_IXOTH for place in (folder, *folder.parents))


def make_root(root: Path) -> None:
    """Create the data root, refusing one that another account prepared for us."""
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    found = root.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(f"{root} belongs to another account: remove it and try again")
    root.chmod(0o755)  # whatever the umask


def own_folder(folder: Path, account: str | None) -> Path:
    """A private folder of that account, created if missing."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if account is not None:
        shutil.chown(folder, account, pwd.getpwnam(account).pw_gid)
    return folder
