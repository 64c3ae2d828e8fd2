"""Which function answers which request."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from doubles.control_plane.plane import ControlPlane

Handler = Callable[..., Any]


class Refusal(Exception):  # noqa: N818 - it is one
    """An answer with an error's status, in Google's form."""

    def __init__(
        self,
        code: int,
        status: str,
        message: str,
        *,
        reason: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.headers = headers or {}
        details = (
            [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": reason,
                    "domain": "googleapis.com",
                }
            ]
            if reason
            else []
        )
        self.body = {
            "error": {"code": code, "status": status, "message": message, "details": details}
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request. `api` is the first word of the host, without its region."""

    method: str
    api: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    raw: bytes = b""
    host: str = ""

    @property
    def token(self) -> str:
        """The access token that it came with."""
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    def field(self, name: str) -> Any:  # noqa: ANN401 - JSON
        """A field of the body; 400 where it is missing."""
        if not isinstance(self.body, dict) or name not in self.body:
            raise invalid(f"The field {name} is required.")
        return self.body[name]


def invalid(message: str) -> Refusal:
    """400."""
    return Refusal(400, "INVALID_ARGUMENT", message)


def check_fields(value: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """400 for a field that is not one, in the words that Google has for it."""
    for name in value:
        if name not in known:
            raise invalid(
                f"Invalid JSON payload received. Unknown name \"{name}\" at '{where}': "
                "Cannot find field."
            )


@dataclass(frozen=True, slots=True)
class _Route:
    method: str
    api: str
    pattern: re.Pattern[str]
    permission: str
    changes: bool
    handler: Handler


_ROUTES: list[_Route] = []
_NAMES = re.compile(r"\{(\w+)\}")


def route(
    method: str, api: str, path: str, *, permission: str, changes: bool | None = None
) -> Callable[[Handler], Handler]:
    """Answer `METHOD https://API.googleapis.com/PATH`; `{name}` stands for one word of the path."""
    pattern = re.compile(_NAMES.sub(r"(?P<\1>[^/:?]+)", path))

    def known(handler: Handler) -> Handler:
        is_change = method != "GET" if changes is None else changes
        _ROUTES.append(_Route(method, api, pattern, permission, is_change, handler))
        return handler

    return known


def find(call: Call) -> tuple[_Route, Mapping[str, str]]:
    """The route of a request and the names in its path; 404, as for any address nobody answers."""
    for one in _ROUTES:
        if (one.method, one.api) == (call.method, call.api):
            found = one.pattern.fullmatch(call.path)
            if found is not None:
                return one, found.groupdict()
    raise Refusal(404, "NOT_FOUND", f"The double has no {call.method} {call.api} {call.path}")


def policy_routes(api: str, path: str, *, name: str, verb: str, get: str = "GET") -> None:
    """`getIamPolicy` and `setIamPolicy` on something; `name` is its full name from the path's."""
    from doubles.control_plane import policies

    @route(get, api, f"{path}:getIamPolicy", permission=f"{verb}.getIamPolicy", changes=False)
    def read(plane: "ControlPlane", call: Call, **names: str) -> Any:  # noqa: ANN401 - JSON
        del call
        return policies.read(plane, name.format(**names))

    @route("POST", api, f"{path}:setIamPolicy", permission=f"{verb}.setIamPolicy")
    def write(plane: "ControlPlane", call: Call, **names: str) -> Any:  # noqa: ANN401 - JSON
        return policies.write(plane, name.format(**names), call.field("policy"))

    @route("POST", api, f"{path}:testIamPermissions", permission=f"{verb}.get", changes=False)
    def test(plane: "ControlPlane", call: Call, **names: str) -> Any:  # noqa: ANN401 - JSON
        del names
        wanted = call.field("permissions")
        return {"permissions": [one for one in wanted if one not in plane.denied]}
