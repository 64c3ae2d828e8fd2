"""The pages: HTML that works without scripts, and the policy that lets nothing else in."""

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gateway.setup import manifest, setup_code
from gateway.setup.record import AppRecord
from gateway.setup.service import Asking, Overview
from gateway.setup.states import LIFETIME

# Enough to see that it is the right ones; a page is not a list of thousands.
SHOWN_REPOSITORIES = 20
# Before the `state` in it is too old; whoever comes back to the page then has a fresh one.
REFRESH_SECONDS = int(LIFETIME.total_seconds()) - 60

NOTICES: Mapping[str, str] = {
    "claude": "The key works, and is stored.",
    "app": "The App is created, and its keys are stored. Now choose its repositories.",
    "installed": "The App is installed.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page, its Content-Security-Policy, and what a browser may tell of it elsewhere."""

    html: str
    policy: str
    referrer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What all pages of a deployment have in common."""

    on_cloud: bool
    server_url: str

    @property
    def host(self) -> str:
        """GitHub's, as a person knows it."""
        return urlsplit(self.server_url).netloc

    def code(self, error: str = "") -> Page:
        """Asks for the setup code."""
        return self._page("code.html", secret=setup_code.SETUP_CODE, error=error)

    def no_code(self) -> Page:
        """Says how to make one."""
        return self._page(
            "no_code.html", secret=setup_code.SETUP_CODE, min_length=setup_code.MIN_LENGTH
        )

    def error(self, heading: str, message: str) -> Page:
        """Says what went wrong."""
        return self._page("error.html", heading=heading, message=message)

    def create(self, asking: Asking) -> Page:
        """Shows what GitHub will be asked for; its form goes there."""
        request = asking.request
        return self._page(
            "create.html",
            forms_to=self.server_url,
            name=request.name,
            webhook_url=request.webhook_url,
            manifest_json=request.to_json(),
            organisation=request.organisation,
            replaces=asking.replaces,
            action=f"{request.action}?state={quote(asking.state)}",
            refresh=REFRESH_SECONDS,
        )

    def overview(
        self,
        seen: Overview,
        *,
        form_token: str,
        is_reached: bool,
        error: str = "",
        notice: str = "",
        look_failed: str = "",
        return_url: str | None = None,
    ) -> Page:
        """Shows what is done and what is left.

        `is_reached`: whether GitHub can send deliveries here. `error`: of the Claude key's form.
        """
        steps = _steps(seen)
        return self._page(
            "overview.html",
            **self._links(seen.app.record),
            steps=steps,
            left=sum(status != "done" for status in steps.values()),
            all_done=all(status == "done" for status in steps.values()),
            app=seen.app,
            claude_at=seen.claude_at,
            counts=seen.counts,
            installations=_installations(seen),
            form_token=form_token,
            is_reached=is_reached,
            error=error,
            notice=NOTICES.get(notice, ""),
            look_failed=look_failed,
            return_url=return_url,
            return_host=urlsplit(return_url or "").netloc,
            vault="Secret Manager" if self.on_cloud else "a file that only you can read",
        )

    def _links(self, record: AppRecord | None) -> dict[str, Any]:
        """To the App's pages on GitHub, where they are known."""
        # One that was brought along may have no name here yet.
        if record is None or not record.slug:
            return dict.fromkeys(("app_url", "install_url", "app_settings_url"))
        url = record.url or manifest.app_url(self.server_url, slug=record.slug)
        settings_url = manifest.settings_url(
            self.server_url,
            owner=record.owner,
            slug=record.slug,
            is_organisation=record.is_organisation,
        )
        return {
            "app_url": url,
            "install_url": f"{url}/installations/new",
            "app_settings_url": settings_url if record.url else None,
        }

    def _page(self, template: str, *, forms_to: str = "", **values: Any) -> Page:  # noqa: ANN401
        style = _style()
        html = (
            _templates()
            .get_template(template)
            .render(style=Markup(style), host=self.host, on_cloud=self.on_cloud, **values)  # noqa: S704
        )
        # Without a referrer a browser sends the form with `Origin: null`, which GitHub may not
        # like; our origin stands in the manifest anyway.
        referrer = "strict-origin" if forms_to else "no-referrer"
        return Page(html=html, policy=_policy(style, forms_to), referrer=referrer)


def _steps(seen: Overview) -> dict[str, str]:
    """Of each step, whether it is done, to be done now, or later."""
    has_app = seen.app.is_configured
    return {
        "claude": "done" if seen.has_claude_key else "now",
        "app": "done" if has_app else "now",
        "install": "done" if has_app and seen.is_installed else "now" if has_app else "later",
        "delivery": _delivery(seen),
    }


def _delivery(seen: Overview) -> str:
    if seen.counts.webhooks:
        return "done"
    return "now" if seen.is_installed else "later"


def _installations(seen: Overview) -> list[dict[str, Any]]:
    record = seen.app.record
    found = []
    for one in record.installations.values() if record is not None else ():
        names = sorted(one.repositories.values(), key=str.lower)[:SHOWN_REPOSITORIES]
        found.append(
            {
                "account": one.account,
                "is_suspended": one.is_suspended,
                "repository_count": one.repository_count,
                "names": names,
                "more": one.repository_count - len(names),
            }
        )
    return found


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("gateway.setup"), autoescape=True, undefined=StrictUndefined
    )


@cache
def _style() -> str:
    source, _, _ = _templates().loader.get_source(_templates(), "style.css")  # type: ignore[union-attr]
    return source


def _policy(style: str, forms_to: str) -> str:
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    parts = urlsplit(forms_to)
    # GitHub's whole origin: a policy compares paths, but not after a redirect.
    forms = f"'self' {parts.scheme}://{parts.netloc}" if forms_to else "'self'"
    return "; ".join(
        (
            "default-src 'none'",
            f"style-src 'sha256-{digest}'",
            f"form-action {forms}",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )
