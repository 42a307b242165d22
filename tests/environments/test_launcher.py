"""The thread that boxes are started from."""

from __future__ import annotations

import ast
import asyncio
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from freehold.environments.base import BoxFailed
from freehold.environments.launcher import Launcher, closed_folder, sealed_file

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs boxes as another user")


@pytest.fixture
async def launcher(tmp_path: Path) -> AsyncIterator[Launcher]:
    made = Launcher([tmp_path / "data"])
    yield made
    made.close()


def closed(tmp_path: Path) -> Path:
    (tmp_path / "data" / "inner").mkdir(parents=True)
    tmp_path.chmod(0o700)
    return tmp_path / "data" / "inner"


async def test_everything_is_done_by_one_thread(launcher: Launcher) -> None:
    first = await launcher.run(threading.get_ident)
    assert first == await launcher.run(threading.get_ident)
    assert first != threading.get_ident()


@as_root
async def test_a_closed_folder_is_reached_by_a_way_only_that_thread_sees(launcher: Launcher, tmp_path: Path) -> None:
    inner = closed(tmp_path)
    (inner / "a").write_text("here")
    seen = await launcher.run(lambda: launcher.path(inner))
    assert seen != inner
    assert closed_folder(seen) is None
    assert await launcher.run(lambda: (seen / "a").read_text()) == "here"
    assert not (seen / "a").exists()
    assert not await asyncio.to_thread(os.path.ismount, "/mnt")


@as_root
async def test_a_closed_folder_that_is_not_ours_is_named(launcher: Launcher, tmp_path: Path) -> None:
    closed(tmp_path)
    foreign = tmp_path / "foreign" / "x"
    foreign.mkdir(parents=True)
    with pytest.raises(BoxFailed, match=r"only its owner may enter.*chmod o\+x"):
        await launcher.run(lambda: launcher.path(foreign))


def test_the_first_closed_folder_is_found(tmp_path: Path) -> None:
    inner = closed(tmp_path)
    found = closed_folder(inner)
    assert found is not None
    assert inner.is_relative_to(found)
    assert closed_folder(Path("/usr/bin")) is None


async def test_a_process_starts_with_nothing_of_ours(launcher: Launcher) -> None:
    os.environ["FREEHOLD_TEST_SECRET"] = "secret"
    reading, writing = os.pipe()
    script = "import os,sys; os.write(int(sys.argv[1]), repr((dict(os.environ), os.listdir('/proc/self/fd'))).encode())"
    argv = ["/usr/bin/python3", "-I", "-S", "-c", script, "{out}"]
    try:
        process = await launcher.run(lambda: launcher.start(argv, {"out": writing}))
        assert process.wait(60) == 0
        variables, descriptors = ast.literal_eval(os.read(reading, 10_000).decode())
        assert set(variables) <= {"LC_CTYPE"}  # which Python sets itself
        assert len(set(descriptors) - {"0", "1", "2", str(writing)}) <= 1  # the one that listed them
        process.stderr.close() if process.stderr else None
    finally:
        del os.environ["FREEHOLD_TEST_SECRET"]
        os.close(reading)
        os.close(writing)


async def test_a_program_that_is_not_there_is_named(launcher: Launcher) -> None:
    with pytest.raises(BoxFailed, match=r"/no/such/program: No such file"):
        await launcher.run(lambda: launcher.start(["/no/such/program"], {}))


def test_a_sealed_file_reads_from_its_beginning() -> None:
    fd = sealed_file("x", b"content")
    with open(fd, "rb") as file:
        assert file.read() == b"content"
