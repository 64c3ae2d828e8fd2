"""The functions that this code is deployed as, and what each of them needs."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.instance import Instance
    from gateway.settings import CommonSettings
    from gateway.store import Collection


class Target(StrEnum):
    """An entry point in `main.py`, by its name there."""

    WEBHOOK = "webhook"
    SETUP = "setup"
    API = "api"
    GATEWAY = "gateway"

    @property
    def serves_callers(self) -> bool:
        """Whether it has routes that ask who calls; the others are open, each with its own rule."""
        return self in (Target.API, Target.GATEWAY)


def read_settings(
    target: Target, environ: Mapping[str, str], *, loopback: bool
) -> "CommonSettings":
    """The target's own, or `ConfigurationError` naming all that is wrong with them."""
    from gateway.settings import CommonSettings, Settings, SetupPagesSettings

    kinds = {Target.SETUP: SetupPagesSettings, Target.WEBHOOK: CommonSettings}
    return kinds.get(target, Settings).from_environ(environ, loopback=loopback)


def open_target(target: Target, settings: "CommonSettings") -> "Instance":
    """What the target has in its process: a `Gateway` where it serves callers."""
    from gateway.http.routes import ROUTES

    if target.serves_callers:
        from gateway.opening import open_gateway
        from gateway.settings import Settings

        assert isinstance(settings, Settings)  # noqa: S101 - as `read_settings` gives it
        return open_gateway(settings, routes=ROUTES)
    from gateway.instance import open_instance

    return open_instance(settings, collections=_collections(target), routes=ROUTES)


def _collections(target: Target) -> "tuple[Collection, ...]":
    if target is Target.SETUP:
        from gateway.setup.collections import COLLECTIONS as OF_SETUP

        return OF_SETUP
    from gateway.intake import COLLECTIONS

    return COLLECTIONS
