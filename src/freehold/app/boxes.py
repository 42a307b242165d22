"""Makes the boxes of this server: the backend that was chosen, what it was found to have, and their fleet."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from freehold.app.backends import backend_of
from freehold.app.ground import Ground
from freehold.app.settings import SafetySettings
from freehold.environments.bounds import BoundSettings, limits_of
from freehold.environments.bubblewrap import Bubblewrap
from freehold.environments.denials import Denials
from freehold.environments.egress import Egress
from freehold.environments.fleet import BoxSettings, Fleet, HearsOfBoxes
from freehold.environments.images.archives import ImageRefused
from freehold.environments.images.assemble import inside
from freehold.environments.images.images import ImageSettings
from freehold.environments.networking import EgressSettings
from freehold.environments.packages import LayerSettings, in_base
from freehold.environments.site import site_of
from freehold.environments.workdirs import Workdirs
from freehold.errors import InvalidRequest
from freehold.library.files import Files

log = logging.getLogger(__name__)


class BoxHouse:
    """The backend that was chosen, what it was found to have, and the fleet of its boxes."""

    def __init__(self, ground: Ground, shared: Sequence[Path], files: Files, heard: HearsOfBoxes | None = None) -> None:
        configuration, clock = ground.configuration, ground.clock
        self.workdirs = Workdirs(ground.data / "sessions")
        self.site = site_of(self.workdirs.root)
        settings = configuration.section(BoxSettings)
        self._layers = configuration.section(LayerSettings)
        self.denials = Denials(self.workdirs, clock)

        async def uploaded(workspace_id: str, file_id: str) -> Path:
            return (await files.open(workspace_id, file_id))[1]

        self._walled = Bubblewrap(
            self.workdirs.root,
            egress=Egress(configuration.section(EgressSettings), self.denials),
            layers=self._layers,
            clock=clock,
            shared=shared,
            warm=settings.warm_boxes,
            image_settings=configuration.section(ImageSettings),
            uploaded=uploaded,
        )
        self.chores = self._walled
        self._unsafe = configuration.section(SafetySettings).unsafe_no_isolation
        self.backend = backend_of(configuration, self._walled)
        self.fleet = Fleet(self.backend, settings, clock, heard)
        self.installer = self._walled
        self.installing = self._walled.installing
        self.repositories = self._walled.repositories
        bounds = configuration.section(BoundSettings)
        self.limits = lambda config: limits_of(config, bounds)
        self.described = "boxes: not looked at"
        self.isolated = False

    async def check_image(self, workspace_id: str, name: str) -> None:
        """Whether a box could stand on that image. Raises `NotFound`, and `InvalidRequest` with why it could not."""
        try:
            await self._walled.images.check(name, workspace_id)
        except ImageRefused as error:
            raise InvalidRequest(f"config.image: {error}") from error

    def has(self, program: str) -> bool:
        """Whether boxes find that program, where their environment names no image."""
        base = self._walled.images.base()
        if base is None:
            return in_base(program)
        return any(inside(base.root, f"{folder}/{program}") for folder in ("usr/bin", "usr/local/bin"))

    async def look(self) -> None:
        """Open a box and see. Where there is no isolation, agent tools will be refused, and it is said here."""
        found = await self.backend.probe()
        self.isolated = found.isolated
        if found.isolated:
            self.described = f"boxes: {found.backend}"
            return
        self.described = "agent tools run WITHOUT ISOLATION" if self._unsafe else "no boxes: agent tools are refused"
        if not self._unsafe:
            log.warning("no box can be made, so agent tools are refused: %s (see `freehold doctor`)", found.reason)

    async def tidy(self) -> None:
        """Remove packages that nobody has used for long."""
        for key in await self._walled.collect_layers(self._layers.layer_kept_days):
            log.info("removed the installed packages %s, which no box has used for long", key)
