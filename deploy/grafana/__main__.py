"""`python -m deploy.grafana`: write the dashboards' JSON anew; a test sees to it that it was done."""

from __future__ import annotations

from deploy.grafana.boards import FOLDER, written
from deploy.grafana.panels import BOARDS

if __name__ == "__main__":
    for board in BOARDS:
        (FOLDER / f"{board.uid}.json").write_text(written(board))
