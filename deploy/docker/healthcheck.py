#!/usr/bin/python3 -IS
"""The images' HEALTHCHECK: does the process of this container answer at its admin port?

    leveret-healthcheck gateway|worker|scaler

It asks `/livez`, which says that the process lives, and not `/readyz`: a container must not be replaced
because PostgreSQL is away. The standard library only, without site-packages: it runs every few seconds.
"""

from __future__ import annotations

import http.client
import os
import sys

TIMEOUT_S = 4
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


def main(process: str) -> int:
    """Ask; returns 0 when it answered well."""
    section = f"LEVERET_{process.upper()}_ADMIN"
    host = os.environ.get(f"{section}_HOST", "127.0.0.1")
    connection = http.client.HTTPConnection(
        EVERYWHERE.get(host, host), int(os.environ[f"{section}_PORT"]), timeout=TIMEOUT_S
    )
    try:
        connection.request("GET", "/livez")
        status = connection.getresponse().status
    except OSError as error:
        print(f"/livez does not answer: {error}")
        return 1
    print(f"/livez answers {status}")
    return 0 if status == http.HTTPStatus.OK else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
