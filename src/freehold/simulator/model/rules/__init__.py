"""What the Messages API allows, rule by rule, with error texts one can act on. One file per subject.

`check` runs them all in the order in which the API complains: options, tools, turns, thinking, media, formats.
"""

from __future__ import annotations

from freehold.simulator.model.request import Request
from freehold.simulator.model.rules import formats, media, options, thinking, tools, turns


def check(request: Request, seed: int) -> None:
    """Everything but the size of the context, which needs the token count (`limits.check_context`).

    Raises:
        InvalidRequest: the first rule that is broken.
    """
    options.check(request)
    tools.check(request)
    turns.check(request)
    thinking.check(request, seed)
    media.check(request)
    formats.check(request)
