"""What clients and workers send, before it is stored."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from freehold.agents.incoming import checked
from freehold.errors import InvalidRequest

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n and more").decode()
GIF = base64.b64encode(b"GIF89a and more").decode()


def image(data: str) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}


def test_a_workers_result_with_an_image_that_is_none_tells_the_model_so() -> None:
    event = {"type": "user.tool_result", "tool_use_id": "sevt_1", "content": [image(PNG), image(GIF)]}
    good, broken = checked("events.0", event)["content"]
    assert good == image(PNG)
    assert broken == {"type": "text", "text": "[image that cannot be shown: it is no image/png]"}


def test_a_clients_own_result_with_an_image_that_is_none_is_refused() -> None:
    event = {"type": "user.custom_tool_result", "custom_tool_use_id": "sevt_1", "content": [image(PNG), image(GIF)]}
    with pytest.raises(InvalidRequest, match=r"events\.0\.content\.1\.source\.data: is no image/png"):
        checked("events.0", event)
