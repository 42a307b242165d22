"""A Podman daemon for tests: no registry, no network, its own storage; it goes with the tests."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.environments.backends import no_podman
from tests.environments.live import until

_OPTIONS = ("--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--runtime", "runc", "--events-backend", "none")


@contextlib.contextmanager
def podman_service(folder: Path) -> Iterator[Path]:
    """Its socket, for the time of the block."""
    socket = folder / "podman.sock"
    own = ["podman", "--root", str(folder / "root"), "--runroot", str(folder / "run"), *_OPTIONS]
    with (folder / "log").open("wb") as log:
        service = subprocess.Popen(
            [*own, "system", "service", "--time", "0", f"unix://{socket}"], stdout=log, stderr=log, cwd=folder
        )
    try:
        until(lambda: socket.exists() or service.poll() is not None, 30.0)
        assert service.poll() is None, (folder / "log").read_text()
        yield socket
    finally:
        subprocess.run([*own, "rm", "--all", "--force"], capture_output=True, check=False)
        service.terminate()
        service.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def podman() -> Iterator[Path]:
    """The socket of a Podman daemon of the tests' own, with images and containers in a folder of its own."""
    if lacks := no_podman():
        pytest.skip(lacks)
    with podman_service(Path(tempfile.mkdtemp(prefix="fh-"))) as socket:  # podman takes only short paths
        yield socket
