"""Settings of a worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from freehold.config import setting


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How a worker works."""

    worker_at_once: int = setting(10, "Sessions that one worker serves side by side.", least=1)
    worker_idle_s: float = setting(
        60.0, "How long after the end of a turn a worker stays with a session, its box open.", unit="s"
    )
    worker_kept_days: float = setting(
        30.0, "A session's files are kept by a worker for so long after their last use.", unit="days"
    )
    worker_environment: dict[str, Any] = setting(
        {},
        "Packages and networking of a worker's boxes: `[worker_environment]`, written like the config of a `cloud` "
        "environment. Left out: no packages, no network.",
    )
