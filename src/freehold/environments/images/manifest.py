"""What an image is made of, read from its own descriptions: its configuration and its layers, each by digest.

Understands the OCI image layout (image-spec 1.1, image-layout.md) and what `docker save` and `podman save` write.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from freehold.environments.images.archives import Archive, Blob, ImageRefused, read

_MOST_JSON_BYTES = 4 << 20
_MOST_LAYERS = 200
_MOST_INDEXES = 3
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_LISTS = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")


@dataclass(frozen=True, slots=True)
class LayerBlob:
    """One layer as it is packed. `digest`: of those bytes, where it is told; `diff_id`: of the tar inside."""

    blob: Blob
    digest: str | None
    diff_id: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """`digest` is that of the configuration: what `docker images` calls the image's id. It covers every layer."""

    digest: str
    config: Mapping[str, Any]
    layers: Sequence[LayerBlob]


def read_manifest(archive: Archive) -> Manifest:
    """The one image of this machine's kind that is in there.

    Raises:
        ImageRefused: there is none, there are several, or a description is not what its digest says.
    """
    if (index := archive.find("index.json")) is not None:
        return _of_oci(archive, _json(index))
    if (saved := archive.find("manifest.json")) is not None:
        return _of_docker(archive, _json(saved))
    raise ImageRefused("there is neither an index.json (OCI layout) nor a manifest.json (docker save) in it")


def _of_oci(archive: Archive, index: Any) -> Manifest:
    found = _chosen(archive, index, 0)
    if len({digest for digest, _ in found}) != 1:
        what = "no image" if not found else f"{len(found)} images"
        raise ImageRefused(f"there is {what} for linux/{_machine()} in it; there must be one")
    manifest = found[0][1]
    config_digest = _digest_of(_member(manifest, "config"))
    layers = [
        (_found(archive, _path(_digest_of(layer))), _digest_of(layer)) for layer in _listed(_member(manifest, "layers"))
    ]
    config = _json(_found(archive, _path(config_digest)), config_digest)
    return _made(config_digest, config, layers)


def _chosen(archive: Archive, index: Any, depth: int) -> list[tuple[str, Any]]:
    """Every manifest for this machine, by digest; those that tell no platform are taken by their configuration."""
    found = []
    for one in _listed(_member(index, "manifests")):
        digest = _digest_of(one)
        platform = one.get("platform") if isinstance(one.get("platform"), dict) else {}
        blob = archive.find(_path(digest))
        if blob is None or platform.get("architecture", _machine()) != _machine():
            continue
        inner = _json(blob, digest)
        if one.get("mediaType") in _LISTS or "manifests" in inner:
            if depth == _MOST_INDEXES:
                raise ImageRefused("its indexes lead to indexes for ever")
            found += _chosen(archive, inner, depth + 1)
        else:
            found.append((digest, inner))
    return found


def _of_docker(archive: Archive, saved: Any) -> Manifest:
    images = _listed(saved)
    if len(images) != 1:
        raise ImageRefused(f"{len(images)} images were saved in it; save one")
    blob = _found(archive, str(_member(images[0], "Config")))
    data = read(blob, _MOST_JSON_BYTES)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    told = re.search(r"[0-9a-f]{64}", str(images[0]["Config"]))
    if told is not None and told[0] != digest[7:]:
        raise ImageRefused("its configuration is not what its name says (sha256)")
    layers = [(_found(archive, str(name)), None) for name in _listed(_member(images[0], "Layers"))]
    return _made(digest, _parsed(data), layers)


def _made(digest: str, config: Any, layers: Sequence[tuple[Blob, str | None]]) -> Manifest:
    if not isinstance(config, dict) or not isinstance(config.get("rootfs"), dict):
        raise ImageRefused("its configuration is not that of a container image")
    platform = f"{config.get('os')}/{config.get('architecture')}"
    if platform != f"linux/{_machine()}":
        raise ImageRefused(f"it is made for {platform[:100]}, this machine is linux/{_machine()}")
    diff_ids = [_checked(one) for one in _listed(_member(config["rootfs"], "diff_ids"))]
    if not 0 < len(diff_ids) == len(layers) <= _MOST_LAYERS:
        raise ImageRefused(f"it has {len(layers)} layers and tells of {len(diff_ids)}; from 1 to {_MOST_LAYERS} it is")
    made = [LayerBlob(blob, given, diff_id) for (blob, given), diff_id in zip(layers, diff_ids, strict=True)]
    return Manifest(digest, config, made)


def _machine() -> str:
    machine = os.uname().machine
    return _MACHINES.get(machine, machine)


def _found(archive: Archive, name: str) -> Blob:
    blob = archive.find(name)
    if blob is None:
        raise ImageRefused(f"{name[:200]} is missing in it; images must be whole, nothing is fetched")
    return blob


def _path(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _digest_of(descriptor: Any) -> str:
    return _checked(_member(descriptor, "digest"))


def _checked(digest: Any) -> str:
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ImageRefused(f"{str(digest)[:100]!r} in it is no sha256 digest")
    return digest


def _json(blob: Blob, digest: str | None = None) -> Any:
    data = read(blob, _MOST_JSON_BYTES)
    if digest is not None and hashlib.sha256(data).hexdigest() != digest.removeprefix("sha256:"):
        raise ImageRefused(f"a description in it is not what its digest says ({digest})")
    return _parsed(data)


def _parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ImageRefused("a description in it is no JSON") from error


def _member(value: Any, name: str) -> Any:
    if not isinstance(value, dict) or name not in value:
        raise ImageRefused(f"a description in it has no {name!r}")
    return value[name]


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ImageRefused("a description in it has no list where there must be one")
    return value
