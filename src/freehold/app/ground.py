"""What every part stands on: the configuration, the clock, the ids, the data folder and the store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from freehold.app.settings import DataSettings
from freehold.clock import Clock, SystemClock
from freehold.config import Configuration
from freehold.errors import Misconfigured
from freehold.ids import NewId, new_id
from freehold.ledger.ledger import Hook, log_alert
from freehold.ledger.rates import Rates
from freehold.store.engine import Store
from freehold.toolboxes.base import Toolbox
from freehold.upstreams.base import Upstream


@dataclass(frozen=True, slots=True)
class Replacements:
    """Parts that a test or an embedding program brings along instead of what the settings say."""

    upstream: Upstream | None = None
    toolboxes: Mapping[str, Toolbox] | None = None
    clock: Clock = field(default_factory=SystemClock)
    ids: NewId = new_id
    alerts: Hook = log_alert
    """Is told when a soft budget has reached its limit."""


def data_folder(folder: Path) -> Path:
    """The folder, made where it was missing, for its owner's eyes only."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise Misconfigured(f"the data folder {folder} cannot be used: {error.strerror}") from error
    return folder.resolve()


def database(settings: DataSettings, data: Path) -> str:
    """The address of the database."""
    return settings.database or f"sqlite:///{data / 'freehold.db'}"


@dataclass(frozen=True, slots=True)
class Ground:
    """What every maker of a part is handed."""

    configuration: Configuration
    data: Path
    store: Store
    rates: Rates
    clock: Clock
    ids: NewId
