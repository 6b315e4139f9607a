"""`python -m shared.catalog DIR`: check every model folder of a catalog and pin its files in the index."""

from __future__ import annotations

import sys
from pathlib import Path

from shared.catalog import CatalogError, load_catalog, write_index


def main(arguments: list[str]) -> int:
    """Check and pin; returns the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m shared.catalog DIR\n")
        return 2
    try:
        models = load_catalog(arguments[0]).models
    except CatalogError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    index = write_index(Path(arguments[0]))
    sys.stdout.write(f"{index}: pinned {', '.join(model.ref for model in models) or 'nothing'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
