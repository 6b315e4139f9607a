"""How long the machines run: short in CI, where every run is the same; as long as one likes by a variable."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

EXAMPLES = int(os.environ.get("LEVERET_MACHINE_EXAMPLES", "0"))
"""`LEVERET_MACHINE_EXAMPLES`: of a long run, each of which is another."""
SHRINK = os.environ.get("LEVERET_MACHINE_SHRINK", "") != "no"


def bounded(examples: int, steps: int) -> settings:
    return settings(
        max_examples=EXAMPLES or examples,
        stateful_step_count=steps,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        print_blob=True,
        phases=(Phase.explicit, Phase.generate, Phase.shrink) if SHRINK else (Phase.explicit, Phase.generate),
        suppress_health_check=list(HealthCheck),
    )


MEMORY = bounded(80, 40)
POSTGRES = settings(bounded(10, 25), phases=(Phase.explicit, Phase.generate))
"""What fails is found again by its blob: to shrink it would take minutes of a real server."""
SABOTAGE = settings(bounded(1000, 40), phases=(Phase.generate,), print_blob=False, report_multiple_bugs=False)
