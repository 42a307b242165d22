"""Builds the system that boxes of this machine stand on, beside the server with the same data folder."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from freehold.app.settings import DataSettings
from freehold.config import Configuration
from freehold.environments.bubblewrap import Bubblewrap
from freehold.environments.images import debian
from freehold.environments.images.images import Image, ImageSettings
from freehold.environments.workdirs import make_folder


async def build_base(configuration: Configuration, wanted: debian.Debian, tell: Callable[[str], None]) -> Image:
    """Build it, unpack it, and make it what boxes stand on from now on.

    Raises:
        BoxFailed: it could not be built or unpacked.
    """
    root = configuration.section(DataSettings).data.absolute() / "sessions"
    boxes = Bubblewrap(root, image_settings=configuration.section(ImageSettings), warm=0)
    make_folder(root, 0o711)
    tar = root / f".base-{os.urandom(6).hex()}.tar"
    try:
        await asyncio.to_thread(debian.build, wanted, tar, tell)
        return await boxes.images.take_base(tar, f"debian {wanted.suite}")
    finally:
        tar.unlink(missing_ok=True)
        await boxes.close()
