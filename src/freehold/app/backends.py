"""Which backend makes boxes, as the settings say: those of a server, of a worker, and one to try things in."""

from __future__ import annotations

from freehold.app.settings import SafetySettings
from freehold.config import Configuration
from freehold.environments.base import Boxes
from freehold.environments.bubblewrap import Bubblewrap
from freehold.environments.containers.containers import Containers, ContainerSettings
from freehold.environments.containers.daemon import Daemon
from freehold.environments.fallback import Fallback
from freehold.environments.local import Local
from freehold.errors import Misconfigured


def backend_of(configuration: Configuration, walled: Bubblewrap) -> Boxes:
    """The one that was chosen. Closing it closes `walled`, too.

    Raises:
        Misconfigured: there is no such backend, or it does not go together with another setting.
    """
    containers = configuration.section(ContainerSettings)
    unsafe = configuration.section(SafetySettings).unsafe_no_isolation
    if containers.box_backend == "docker" and unsafe:
        raise Misconfigured("unsafe_no_isolation: does not go together with box_backend = docker")
    if containers.box_backend == "docker":
        return Containers(walled.root, Daemon(containers.docker_socket), walled)
    if containers.box_backend != "bubblewrap":
        raise Misconfigured(f"box_backend: must be `bubblewrap` or `docker`, not {containers.box_backend!r}")
    return Fallback(walled, Local(unsafe_no_isolation=True)) if unsafe else walled
