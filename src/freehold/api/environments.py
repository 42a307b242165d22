"""`/v1/environments`: create, retrieve, update, list, archive, delete. The times in answers are plain text there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.routing import BaseRoute

from freehold.api.base import Request, answer, route
from freehold.api.metadata import merged_metadata, new_metadata
from freehold.clock import Clock, rfc3339
from freehold.environments.bounds import BoundSettings, check_limits
from freehold.environments.images.names import check_image
from freehold.environments.networking import check_networking
from freehold.environments.packages import MANAGERS, check_packages, in_base
from freehold.errors import InvalidRequest
from freehold.ids import NewId
from freehold.store.environments import EnvironmentRow, EnvironmentRows
from freehold.wire.contract.checker import check

T = TypeVar("T")
MOST_NAME_CHARS = 256
_OWN = ("limits", "image")
"""What a `config` may have beyond the API's contract."""
MOST_DESCRIPTION_CHARS = 2048


CheckImage = Callable[[str, str], Awaitable[None]]
"""Of a workspace, whether a box could stand on the image of that name. Raises `FreeholdError`."""


async def no_images(workspace_id: str, name: str) -> None:
    """For a server whose boxes know none."""
    raise InvalidRequest("config.image: the boxes of this server know no images")


@dataclass(frozen=True, slots=True)
class Possible:
    """What an environment may ask for: within `bounds`, an image that passes the check, what programs boxes find."""

    bounds: BoundSettings = field(default_factory=BoundSettings)
    image: CheckImage = no_images
    has: Callable[[str], bool] = in_base


def routes(rows: EnvironmentRows, *, clock: Clock, ids: NewId, possible: Possible | None = None) -> list[BaseRoute]:
    """Every route of environments but the work queue's."""
    environments = _Environments(rows, clock, ids, possible or Possible())
    return [
        route("POST", "/v1/environments", environments.create),
        route("GET", "/v1/environments", environments.list),
        route("GET", "/v1/environments/{environment_id}", environments.retrieve),
        route("POST", "/v1/environments/{environment_id}", environments.update),
        route("DELETE", "/v1/environments/{environment_id}", environments.delete),
        route("POST", "/v1/environments/{environment_id}/archive", environments.archive),
    ]


class _Environments:
    def __init__(self, rows: EnvironmentRows, clock: Clock, ids: NewId, possible: Possible) -> None:
        self._rows = rows
        self._possible = possible
        self._clock = clock
        self._ids = ids

    async def create(self, request: Request) -> Response:
        fields = await self._fields(request, "environments.create")
        body = _created(fields, self._possible.has)
        row = await self._rows.create(request.workspace_id, self._ids("env"), body, self._clock.now_us())
        return answer(shown(row))

    async def _fields(self, request: Request, operation: str) -> dict[str, Any]:
        """The body, checked; `limits` and `image` of `config`, which are ours, beside what the API's contract knows."""
        fields = await request.json()
        config = fields.get("config")
        own = {name: config.pop(name) for name in _OWN if name in config} if isinstance(config, dict) else {}
        check(operation, fields)
        if own.get("limits") is not None:
            bounds = self._possible.bounds
            own["limits"] = _placed("config", lambda given: check_limits(given, bounds), own["limits"])
        if own.get("image") is not None:
            name = _placed("config", check_image, own["image"])
            await self._possible.image(request.workspace_id, name)
        if own:
            fields["config"].update(own)
        return fields

    async def retrieve(self, request: Request) -> Response:
        return answer(shown(await self._rows.get(request.workspace_id, request.path["environment_id"])))

    async def update(self, request: Request) -> Response:
        fields = await self._fields(request, "environments.update")
        environment_id = request.path["environment_id"]
        row = await self._rows.update(
            request.workspace_id,
            environment_id,
            self._clock.now_us(),
            lambda row: _updated(row, fields, self._possible.has),
        )
        return answer(shown(row))

    async def archive(self, request: Request) -> Response:
        await request.json()
        environment_id = request.path["environment_id"]
        return answer(shown(await self._rows.archive(request.workspace_id, environment_id, self._clock.now_us())))

    async def delete(self, request: Request) -> Response:
        environment_id = request.path["environment_id"]
        await self._rows.delete(request.workspace_id, environment_id, self._clock.now_us())
        return answer({"id": environment_id, "type": "environment_deleted"})

    async def list(self, request: Request) -> Response:
        archived = request.query.boolean("include_archived")
        window = request.query.window("environments", {"include_archived": archived})
        rows = await self._rows.page(
            request.workspace_id, include_archived=archived, after=window.after, limit=window.limit
        )
        return answer(window.page(rows, shown, lambda row: (row.created_us, row.id)))


def shown(row: EnvironmentRow) -> dict[str, Any]:
    """An environment as the API shows it."""
    return {
        "id": row.id,
        "type": "environment",
        **row.body,
        "created_at": rfc3339(row.created_us),
        "updated_at": rfc3339(row.updated_us),
        "archived_at": None if row.archived_us is None else rfc3339(row.archived_us),
    }


def config_of_settings(given: Mapping[str, Any], bounds: BoundSettings) -> dict[str, Any]:
    """A whole `cloud` config from settings, held to the same rules as one that comes over the API.

    Raises:
        InvalidRequest: it would be refused there too.
    """
    own = {name: given[name] for name in _OWN if name in given}
    config = {"type": "cloud", **{name: value for name, value in given.items() if name not in _OWN}}
    check("environments.create", {"name": "settings", "config": config})
    if "limits" in own:
        own["limits"] = check_limits(own["limits"], bounds)
    if "image" in own:
        own["image"] = check_image(own["image"])
    return whole_config({**config, **own})


def refuse_archived(row: EnvironmentRow) -> None:
    """For changes and new sessions: raises `InvalidRequest` with `environment_archived`."""
    if row.archived_us is not None:
        raise InvalidRequest(
            f"The environment {row.id} is archived. Create a new one.", details={"error_code": "environment_archived"}
        )


def _created(fields: Mapping[str, Any], has: Callable[[str], bool]) -> dict[str, Any]:
    return {
        "name": _name(fields.get("name")),
        "description": _description(fields.get("description")),
        "config": whole_config(fields.get("config") or {"type": "cloud"}, has=has),
        "metadata": new_metadata(fields.get("metadata")),
        "scope": _scope(fields.get("scope")),
    }


def _updated(row: EnvironmentRow, fields: Mapping[str, Any], has: Callable[[str], bool]) -> dict[str, Any]:
    refuse_archived(row)
    body = dict(row.body)
    if fields.get("name") is not None:
        body["name"] = _name(fields["name"])
    if "description" in fields:
        body["description"] = _description(fields["description"])
    if fields.get("config") is not None:
        _refuse_other_type(row.body["config"], fields["config"])
        body["config"] = whole_config(fields["config"], row.body["config"], has)
    if "metadata" in fields:
        body["metadata"] = merged_metadata(body["metadata"], fields["metadata"], empty_deletes=True)
    if fields.get("scope") is not None:
        body["scope"] = _scope(fields["scope"])
    return body


def _name(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > MOST_NAME_CHARS:
        raise InvalidRequest(f"name: must be text of 1 to {MOST_NAME_CHARS} characters.")
    return value


def _description(value: str | None) -> str | None:
    if value is not None and len(value) > MOST_DESCRIPTION_CHARS:
        raise InvalidRequest(f"description: at most {MOST_DESCRIPTION_CHARS} characters are taken.")
    return value  # null and "" are different values here


def _scope(value: str | None) -> str:
    if value == "account":
        raise InvalidRequest('scope: "account" is not there for API keys; leave it out or send "organization".')
    return "organization"


def _refuse_other_type(current: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    if given.get("type", "cloud") != current["type"]:
        raise InvalidRequest(
            f"config.type: an environment stays what it is ({current['type']}). Create a new one.",
            details={"error_code": "invalid_config_type_change"},
        )


def whole_config(
    given: Mapping[str, Any], current: Mapping[str, Any] | None = None, has: Callable[[str], bool] = in_base
) -> dict[str, Any]:
    """A whole `config`; what is left out stays as in `current`, else takes the default.

    `has`: whether boxes find a program, where the environment names no image.
    """
    if given.get("type") == "self_hosted":
        if others := given.keys() - {"type"}:
            raise InvalidRequest(f"config.{min(others)}: the machine of a self-hosted environment's worker says that.")
        return {"type": "self_hosted"}
    kept = current or {}
    image = given.get("image", kept.get("image"))
    packages = _packages(given.get("packages") or {}, kept.get("packages") or {}, _anything if image else has)
    networking = _networking(given.get("networking"), kept.get("networking"), any(packages[name] for name in MANAGERS))
    config = {"type": "cloud", "networking": networking, "packages": packages}
    own = {"limits": given.get("limits", kept.get("limits")), "image": image}
    if image and packages["apt"]:
        raise InvalidRequest("config.packages.apt: an image brings its own system; install them in the image.")
    return {**config, **{name: value for name, value in own.items() if value}}


def _networking(given: Mapping[str, Any] | None, kept: Mapping[str, Any] | None, with_packages: bool) -> dict[str, Any]:
    """What was never said is closed, but for the package registries where there are packages to install.

    `allow_mcp_servers` is about calls that this server makes for the agent; a box reaches no MCP server by it.
    """
    if given is None:
        if kept is None:
            return _limited(with_packages, (), True)
        given = kept
    if given["type"] == "unrestricted":
        return {"type": "unrestricted"}
    before = kept if kept is not None and kept["type"] == "limited" else {}
    said = {**before, **{key: value for key, value in given.items() if value is not None}}
    _placed("config.networking", check_networking, said)
    managers = bool(said.get("allow_package_managers"))
    if with_packages and not managers:
        raise InvalidRequest(
            "config.networking.allow_package_managers: must be true, because packages are to be installed."
        )
    return _limited(managers, said.get("allowed_hosts") or (), bool(said.get("allow_mcp_servers")))


def _limited(managers: bool, hosts: Sequence[str], mcp_servers: bool) -> dict[str, Any]:
    return {
        "type": "limited",
        "allowed_hosts": list(hosts),
        "allow_mcp_servers": mcp_servers,
        "allow_package_managers": managers,
    }


def _packages(given: Mapping[str, Any], kept: Mapping[str, Any], has: Callable[[str], bool]) -> dict[str, Any]:
    """A manager that is left out keeps its packages; an empty list takes them away."""
    said = {name: kept.get(name) if given.get(name) is None else given[name] for name in MANAGERS}
    packages = {name: list(specs or ()) for name, specs in said.items()}
    _placed("config", lambda packages: check_packages(packages, has), packages)
    return {"type": "packages", **packages}


def _anything(program: str) -> bool:
    """What is in an image shows when packages are installed on it."""
    return True


def _placed(place: str, check: Callable[[Any], T], value: Any) -> T:
    try:
        return check(value)
    except InvalidRequest as error:
        raise type(error)(f"{place}.{error.message}") from error
