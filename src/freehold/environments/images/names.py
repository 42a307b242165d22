"""How an environment names the image that its boxes stand on: by the id of an upload, or by a name in a folder."""

from __future__ import annotations

import re

from freehold.errors import InvalidRequest

_UPLOAD = re.compile(r"file_[A-Za-z0-9_]{1,100}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}(?:/[A-Za-z0-9][A-Za-z0-9._-]{0,100}){0,3}")


def is_upload(name: str) -> bool:
    """Whether it is the id of a file."""
    return _UPLOAD.fullmatch(name) is not None


def check_image(name: object) -> str:
    """The name, if it is one.

    Raises:
        InvalidRequest: it is none.
    """
    if not isinstance(name, str) or not (is_upload(name) or _NAME.fullmatch(name)):
        raise InvalidRequest(
            "image: must be the id of an uploaded file, or a plain name below this server's image_folder"
        )
    return name
