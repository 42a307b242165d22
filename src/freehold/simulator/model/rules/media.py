"""Rules of images and documents: readable, of the type they claim, within the documented sizes and numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from freehold.errors import InvalidRequest
from freehold.simulator.model import media
from freehold.simulator.model.request import Placed, Request

_LARGEST_IMAGE_BYTES = 5 << 20
_LONGEST_SIDE_PX = 8000
_MANY_IMAGES = 20
_LONGEST_SIDE_OF_MANY_PX = 2000
_LARGEST_PDF_BYTES = 32 << 20


def check(request: Request) -> None:
    """See the module."""
    images = list(placed_of(request, "image"))
    documents = list(placed_of(request, "document"))
    if not images and not documents:
        return
    most = 600 if request.model.context >= 1_000_000 else 100
    if len(images) > most:
        raise InvalidRequest(f"messages: too many images: {len(images)} > {most}")
    longest = _LONGEST_SIDE_OF_MANY_PX if len(images) > _MANY_IMAGES else _LONGEST_SIDE_PX
    for placed in images:
        _image(placed, longest, request)
    pages = sum(_document(placed) for placed in documents)
    if pages > most:
        raise InvalidRequest(f"messages: A maximum of {most} PDF pages may be provided. Found {pages}.")


def placed_of(request: Request, kind: str) -> Iterator[Placed]:
    """Blocks of that type in all turns, those inside tool results and documents too."""
    for turn in request.turns:
        for placed in turn.placed:
            if placed.block["type"] in (kind, "tool_result", "document"):
                yield from _inside(placed, kind)


def _inside(placed: Placed, kind: str) -> Iterator[Placed]:
    if placed.type == kind:
        yield placed
    inner: Any = placed.block.get("content") if placed.type == "tool_result" else None
    if placed.type == "document" and placed.block["source"]["type"] == "content":
        inner = placed.block["source"]["content"]
    if isinstance(inner, list):
        for at, block in enumerate(inner):
            yield from _inside(Placed(f"{placed.path}.content.{at}", block), kind)


def _image(placed: Placed, longest: int, request: Request) -> None:
    source: Mapping[str, Any] = placed.block["source"]
    if source["type"] == "url":
        _url(placed, source["url"])
    if source["type"] != "base64":
        return
    where = f"{placed.path}.image.source.base64"
    size = media.decoded_size(source["data"])
    if size > _LARGEST_IMAGE_BYTES:
        raise InvalidRequest(f"{where}: image exceeds 5 MB maximum: {size} bytes > {_LARGEST_IMAGE_BYTES} bytes")
    raw = media.decode(source["data"], head_only=True)
    if raw is None:
        raise InvalidRequest(f"{where}.data: invalid base64 data")
    seen = media.picture(raw)
    if seen is None or not seen.width or not seen.height:
        raise InvalidRequest(f"{where}: Could not process image")
    if seen.media_type != source["media_type"]:
        raise InvalidRequest(
            f"{where}: The image was specified using the {source['media_type']} media type, but the image appears to "
            f"be a {seen.media_type} image"
        )
    if max(seen.width, seen.height) > longest:
        raise InvalidRequest(
            f"{where}.data: At least one of the image dimensions exceed max allowed size: {longest} pixels",
            details={
                "error_code": "image_dimensions_too_large",
                "paths": [placed.path],
                "max_side_length_pixels": longest,
            },
        )
    fitted = media.scaled(seen.width, seen.height, request.model)
    wish = (placed.block.get("transformations") or {}).get("oversized_image")
    if wish == "error" and fitted != (seen.width, seen.height):
        raise InvalidRequest(
            f"{where}: image is {seen.width}x{seen.height} pixels; the largest that fits without scaling is "
            f"{fitted[0]}x{fitted[1]}"
        )


def _document(placed: Placed) -> int:
    source: Mapping[str, Any] = placed.block["source"]
    if source["type"] == "url":
        _url(placed, source["url"])
        return media.NOMINAL_PAGES
    if source["type"] == "file":
        return media.NOMINAL_PAGES
    if source["type"] != "base64":
        return 0
    where = f"{placed.path}.pdf.source.base64"
    if media.decoded_size(source["data"]) > _LARGEST_PDF_BYTES:
        raise InvalidRequest(f"{where}: document exceeds 32 MB maximum")
    raw = media.decode(source["data"])
    if raw is None:
        raise InvalidRequest(f"{where}.data: invalid base64 data")
    if not raw.startswith(b"%PDF-"):
        raise InvalidRequest(f"{where}.data: The PDF specified was not valid.")
    if b"/Encrypt" in raw:
        raise InvalidRequest(f"{where}.data: The PDF specified is password protected.")
    return media.pdf_pages(raw)


def _url(placed: Placed, url: str) -> None:
    if not url.startswith("https://"):
        raise InvalidRequest(f"{placed.path}.source.url: Only HTTPS URLs are supported.")
