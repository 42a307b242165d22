"""Images and PDFs by the documented formulas, whatever their format."""

from __future__ import annotations

import struct

import pytest

from freehold.simulator.model import media
from freehold.simulator.model.catalog import MODELS, find

_OLD, _NEW = find("claude-opus-4-5"), find("claude-opus-5")
_JPEG = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xff\xc2\x00\x11\x08" + struct.pack(">HH", 480, 640) + bytes(20)
_WEBP_X = b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (639).to_bytes(3, "little") + (479).to_bytes(3, "little")
_WEBP_L = b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f" + (639 | 479 << 14).to_bytes(4, "little")
_WEBP = b"RIFF\0\0\0\0WEBPVP8 " + bytes(10) + struct.pack("<HH", 640, 480)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 640, 480), "image/png"),
        (b"GIF89a" + struct.pack("<HH", 640, 480), "image/gif"),
        (_JPEG, "image/jpeg"),
        (_WEBP_X, "image/webp"),
        (_WEBP_L, "image/webp"),
        (_WEBP, "image/webp"),
    ],
)
def test_size_and_kind_are_read_from_the_first_bytes(raw: bytes, kind: str) -> None:
    assert media.picture(raw) == media.Picture(kind, 640, 480)
    for cut in range(8):
        media.picture(raw[:cut])


@pytest.mark.parametrize(
    ("width", "height", "model", "tokens"),
    [
        (200, 200, _OLD, 64),  # 8 by 8 patches
        (28, 28, _OLD, 1),
        (29, 28, _OLD, 2),
        (1000, 1000, _OLD, 36 * 36),
        (1092, 1092, _OLD, 39 * 39),
        (1568, 784, _OLD, 56 * 28),
        (2000, 2000, _NEW, 4_784),  # 72 by 72 patches would be 5,184: scaled down to fit
        (1920, 1080, _NEW, 69 * 39),
    ],
)
def test_an_image_costs_a_token_a_patch(width: int, height: int, model: object, tokens: int) -> None:
    found = media.image_tokens(width, height, model)  # type: ignore[arg-type]
    assert tokens * 0.97 <= found <= tokens


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
def test_no_image_costs_more_than_the_model_s_most(model: object) -> None:
    edge, most = media.native_limits(model)  # type: ignore[arg-type]
    for width, height in ((8000, 8000), (8000, 10), (10, 8000), (1, 1), (3000, 1999), (edge, edge)):
        assert 1 <= media.image_tokens(width, height, model) <= most  # type: ignore[arg-type]
        fitted = media.scaled(width, height, model)  # type: ignore[arg-type]
        assert max(fitted) <= edge


def test_three_pages_of_pdf_cost_about_seven_thousand_tokens() -> None:
    pages = media.pdf_pages(b"%PDF-1.7" + b"<< /Type /Page >> " * 3 + b"<< /Type /Pages /Count 3 >>")
    assert pages == 3
    assert 6_300 <= media.pdf_tokens(pages, _OLD) <= 7_700
