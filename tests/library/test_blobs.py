"""Blobs: whole or not at all, whatever happens to the writer, the disk or the sweep."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from freehold.errors import Unavailable
from freehold.library.blobs import Blobs

BYTES = os.urandom(3_000_000)


async def put(blobs: Blobs, data: bytes) -> str:
    async with blobs.incoming() as incoming:
        for start in range(0, len(data), 70_000):
            await incoming.write(data[start : start + 70_000])
        return await incoming.keep()


async def test_a_blob_is_named_by_its_bytes_and_comes_back_as_it_was(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    name = await put(blobs, BYTES)
    assert name == hashlib.sha256(BYTES).hexdigest()
    assert b"".join([piece async for piece in blobs.chunks(name)]) == BYTES
    assert await put(blobs, BYTES) == name
    assert list(blobs.all()) == [name]
    assert blobs.path(name).stat().st_mode & 0o077 == 0


async def test_an_empty_blob_is_one_too(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    name = await put(blobs, b"")
    assert [piece async for piece in blobs.chunks(name)] == []


async def test_what_is_not_kept_leaves_nothing(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    with pytest.raises(ZeroDivisionError):
        async with blobs.incoming() as incoming:
            await incoming.write(BYTES)
            raise ZeroDivisionError
    assert list(blobs.all()) == []
    assert list((tmp_path / "incoming").iterdir()) == []


async def test_a_blob_that_a_sweep_took_is_put_back_by_whoever_still_holds_its_bytes(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    async with blobs.incoming() as incoming:
        await incoming.write(b"x")
        name = await incoming.keep()
        blobs.remove(name)
        incoming.ensure(name)
    assert blobs.path(name).read_bytes() == b"x"


async def test_a_sweep_takes_what_a_killed_writer_left_and_spares_a_living_one(tmp_path: Path) -> None:
    writer = textwrap.dedent(f"""
        import asyncio, sys, time
        from pathlib import Path
        from freehold.library.blobs import Blobs
        async def main():
            async with Blobs(Path({str(tmp_path)!r})).incoming() as incoming:
                await incoming.write(bytes(2_000_000))
                print("writing", flush=True)
                await asyncio.sleep(60)
        asyncio.run(main())
    """)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", writer, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 30) == b"writing\n"
    blobs = Blobs(tmp_path)
    async with blobs.incoming() as incoming:
        await incoming.write(BYTES)
        assert blobs.sweep_incoming() == 0, "both writers live"
        process.kill()
        await process.wait()
        assert blobs.sweep_incoming() == 1
        name = await incoming.keep()
    assert blobs.path(name).read_bytes() == BYTES
    assert list((tmp_path / "incoming").iterdir()) == []


async def test_an_upload_is_refused_before_the_disk_is_full(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path, floor_bytes=1 << 60)
    with pytest.raises(Unavailable):
        await put(blobs, b"x")
    assert list((tmp_path / "incoming").iterdir()) == []


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="needs bubblewrap for a disk of 4 MB")
async def test_a_disk_that_fills_up_loses_nothing_that_was_kept(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import asyncio, errno
        from pathlib import Path
        from freehold.library.blobs import Blobs
        async def main():
            blobs = Blobs(Path("/mnt/blobs"), floor_bytes=0)
            async with blobs.incoming() as incoming:
                await incoming.write(b"a" * 1_000_000)
                name = await incoming.keep()
            try:
                async with blobs.incoming() as incoming:
                    for _ in range(10):
                        await incoming.write(b"b" * 1_000_000)
                    await incoming.keep()
            except OSError as error:
                assert error.errno == errno.ENOSPC, error
            else:
                raise SystemExit("the disk did not fill up")
            assert list(blobs.all()) == [name]
            assert blobs.path(name).read_bytes() == b"a" * 1_000_000
            assert list(Path("/mnt/blobs/incoming").iterdir()) == []
            async with blobs.incoming() as incoming:
                await incoming.write(b"c" * 1_000_000)
                await incoming.keep()
            print("kept")
        asyncio.run(main())
    """)
    process = await asyncio.create_subprocess_exec(
        "bwrap", "--dev-bind", "/", "/", "--size", "4194304", "--tmpfs", "/mnt",
        "--setenv", "PYTHONDONTWRITEBYTECODE", "1", sys.executable, "-c", program,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, problems = await asyncio.wait_for(process.communicate(), 60)
    assert (process.returncode, out) == (0, b"kept\n"), problems.decode()
