"""Container images for tests, built by hand: layers as tars, and the three forms in which images are kept."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
PROGRAMS = ("sh", "cat", "ls", "id", "touch", "env")


def entry(name: str, content: bytes | str = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """One member of a layer: a file, or whatever `type` and `linkname` say."""
    data = content.encode() if isinstance(content, str) else content
    member = tarfile.TarInfo(name)
    member.mode, member.mtime, member.size = 0o644, 1_700_000_000, len(data)
    for field, value in fields.items():
        setattr(member, field, value)
    return member, data


def folder(name: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.DIRTYPE, mode=0o755)


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return entry(name, type=tarfile.LNKTYPE, linkname=target)


def layer(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """The tar of a layer."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member, data in members:
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def system(*programs: str) -> bytes:
    """A layer with programs of this machine and the libraries that they need, in a place each."""
    members = [folder("bin"), folder("lib64"), folder("etc"), entry("etc/os-release", 'PRETTY_NAME="Hand Made"\n')]
    needed: dict[str, str] = {}
    for program in programs or PROGRAMS:
        found = os.path.realpath(f"/bin/{program}")
        members.append(entry(f"bin/{program}", Path(found).read_bytes(), mode=0o755))
        said = subprocess.run(["ldd", found], capture_output=True, text=True, check=True).stdout
        needed |= {name: name for name in re.findall(r"(/\S+) \(0x", said)}
    members += [entry(name.lstrip("/"), Path(name).read_bytes(), mode=0o755) for name in needed]
    return layer(*members)


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass(frozen=True)
class Image:
    """`layers` from the lowest; `config` is the part with `Env`, `User` and `WorkingDir`."""

    layers: Sequence[bytes]
    config: Mapping[str, Any]
    architecture: str = MACHINE

    def described(self) -> bytes:
        told = {
            "architecture": self.architecture,
            "os": "linux",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": [digest(one) for one in self.layers]},
        }
        return json.dumps(told).encode()

    @property
    def id(self) -> str:
        return digest(self.described())

    def as_folder(self, path: Path) -> Path:
        """As an OCI layout, its layers compressed."""
        blobs = path / "blobs" / "sha256"
        blobs.mkdir(parents=True)

        def put(data: bytes, kind: str) -> dict[str, Any]:
            (blobs / digest(data)[7:]).write_bytes(data)
            return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest(data), "size": len(data)}

        layers = [put(gzip.compress(one, 1, mtime=0), "layer.v1.tar+gzip") for one in self.layers]
        config = put(self.described(), "config.v1+json")
        manifest = json.dumps({"schemaVersion": 2, "config": config, "layers": layers}).encode()
        index = {"schemaVersion": 2, "manifests": [put(manifest, "manifest.v1+json")]}
        (path / "index.json").write_text(json.dumps(index))
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        return path

    def as_tar(self, path: Path) -> Path:
        """The same as one tar."""
        self.as_folder(path.with_suffix(".folder"))
        with tarfile.open(path, "w") as tar:
            tar.add(path.with_suffix(".folder"), ".")
        return path

    def as_saved(self, path: Path) -> Path:
        """As `docker save` writes it."""
        described = self.described()
        names = [f"{digest(one)[7:]}/layer.tar" for one in self.layers]
        saved = [{"Config": f"{self.id[7:]}.json", "RepoTags": ["made:by-hand"], "Layers": names}]
        files = {f"{self.id[7:]}.json": described, "manifest.json": json.dumps(saved).encode()}
        files |= dict(zip(names, self.layers, strict=True))
        path.write_bytes(layer(*(entry(name, data) for name, data in files.items())))
        return path
