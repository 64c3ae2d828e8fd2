"""The set-up's routes: pages for a browser, JSON for whoever sends the code in a header."""

import re
from collections.abc import Mapping

from flask import Flask, Response, g, jsonify, make_response, redirect, request

from claude_run.errors import CallerError, ClaudeRunError, Code
from claude_run.strictjson import loads_object
from gateway.http import routes
from gateway.http.body import FORM_SECONDS, is_form, read_form, read_json_body
from gateway.http.setup_browser import Browser
from gateway.instance import Instance
from gateway.setup import pages
from gateway.setup.claude_key import FIELD
from gateway.setup.manifest import organisation_of
from gateway.setup.pages import Page
from gateway.setup.returning import check_return_url
from gateway.setup.service import Overview, Setup
from gateway.setup.setup_code import NO_CODE, Ticket
from gateway.store import StoreUnavailableError
from gateway.timestamp import iso

# A key of four kilobytes, every character of it escaped.
MAX_BODY_BYTES = 16 * 1024
PATHS = (routes.SETUP, routes.SETUP_CALLBACK, routes.CLAUDE_SETUP)
# Of what is no page.
NOTHING = "default-src 'none'; frame-ancestors 'none'"
CODE_HEADER = "X-Setup-Code"
CODE_FIELD = "setupCode"

# What a person has typed or brought along, by the name that programs know.
_NAMES = {
    "code": "What GitHub sent back",
    "state": "What GitHub sent back",
    "organization": "Organisation",
}
_APP_ID = re.compile(r"[0-9]{1,20}")
_HEADINGS = {
    Code.UNAUTHORIZED: "The setup code is needed",
    Code.FORBIDDEN: "That is not allowed",
    Code.NOT_FOUND: "There is nothing here",
    Code.CONFLICT: "That cannot be done now",
    Code.RATE_LIMIT_EXCEEDED: "Too many tries",
    Code.UNAVAILABLE: "That could not be done just now",
    Code.INTERNAL_ERROR: "Something went wrong",
}


def install(app: Flask, instance: Instance, *, receives: bool) -> None:
    """Add the routes. `receives`: whether the app takes deliveries as well."""
    SetupRoutes(
        Setup(
            store=instance.store,
            vault=instance.vault,
            settings=instance.settings,
            clock=instance.clock,
            receives=receives,
        )
    ).install(app)


class SetupRoutes:
    """Views around one `Setup`."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        settings = setup.settings
        self._allowed = settings.allowed_origins
        self._browser = Browser(on_cloud=settings.on_cloud)
        self._look = pages.Look(on_cloud=settings.on_cloud, server_url=settings.github.server_url)

    def install(self, app: Flask) -> None:
        """Add them to an app."""
        app.before_request(self._before)
        app.after_request(self._after)
        app.get(routes.SETUP)(self.show)
        app.post(routes.SETUP)(self.enter)
        app.get(routes.SETUP_CALLBACK)(self.callback)
        app.post(routes.CLAUDE_SETUP)(self.claude)

    def _before(self) -> None:
        is_page = request.path in PATHS and "text/html" in request.headers.get("Accept", "")
        g.error_page = self._error_page if is_page else None

    def _after(self, answer: Response) -> Response:
        if request.path in PATHS:
            answer.headers.setdefault("Referrer-Policy", "no-referrer")
            answer.headers.setdefault("Content-Security-Policy", NOTHING)
            answer.headers["Cross-Origin-Opener-Policy"] = "same-origin"
            answer.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        return answer

    # --- views ---------------------------------------------------------------------------------

    def show(self) -> Response:
        """`GET /gh-setup`: what is done and what is left, or what GitHub will be asked for."""
        given = _argument("redirect_url")
        return_url = check_return_url(given, self._allowed) if given else self._return_url()
        ticket = self._ticket()
        if _argument("create"):
            answer = self._show_create(ticket)
        else:
            seen, look_failed = self._looked()
            is_back = bool(_argument("installation_id")) and seen.is_installed
            if return_url and is_back:
                # Back from GitHub, and nothing is left to be done there.
                answer = make_response(redirect(return_url, 303))
                self._browser.keep_return_url(answer, None)
                return answer
            answer = self._show_overview(
                ticket,
                seen,
                notice="installed" if is_back else "",
                look_failed=look_failed,
                return_url=return_url,
            )
        if given:
            self._browser.keep_return_url(answer, return_url)
        if ticket is not None:
            self._browser.keep_ticket(answer, self._setup.new_ticket(ticket))
        return answer

    def enter(self) -> Response:
        """`POST /gh-setup`: the code, for a ticket."""
        self._browser.check_same_origin()
        fields = read_form(request, at_most=MAX_BODY_BYTES)
        if set(fields) != {CODE_FIELD}:
            raise CallerError(f"{CODE_FIELD}: it must be there, and nothing else.")
        try:
            self._setup.check_code(fields[CODE_FIELD], self._browser.address())
        except CallerError as error:
            if g.error_page is None:
                raise
            answer = _html(self._look.code(error.message), error.http_status)
            answer.headers.update(error.headers)
            return answer
        answer = make_response(redirect(routes.SETUP, 303))
        self._browser.keep_ticket(answer, self._setup.new_ticket())
        return answer

    def callback(self) -> Response:
        """`GET /gh-setup/callback`: GitHub has made an App."""
        ticket = self._ticket()
        code, state = _argument("code"), _argument("state")
        if not code or not state:
            missing = "state" if code else "code"
            raise CallerError(f"{missing}: it is missing.", details={"field": missing})
        self._setup.finish(code, state, _name(ticket))
        return make_response(redirect(f"{routes.SETUP}?done=app#install", 303))

    def claude(self) -> Response:
        """`POST /claude-setup`: a key, from the page's form or as JSON."""
        self._browser.check_same_origin()
        if not is_form(request):
            return self._claude_json()
        ticket = self._ticket()
        fields = read_form(request, at_most=MAX_BODY_BYTES)
        token = fields.pop("formToken", "")
        if ticket is not None:
            ticket.check_form(token, self._setup.codes())
        key = _only_key(fields)
        try:
            self._setup.store_claude_key(key)
        except ClaudeRunError as error:
            if g.error_page is None or error.code is Code.INTERNAL_ERROR:
                raise
            answer = self._show_overview(
                ticket, self._setup.overview(), error=_without_field(error)
            )
            answer.status_code = error.http_status
            answer.headers.update(error.headers)
            return answer
        return make_response(redirect(f"{routes.SETUP}?done=claude#claude", 303))

    def _claude_json(self) -> Response:
        # The header alone: a page of another site cannot send it, whatever cookies there are.
        given = request.headers.get(CODE_HEADER)
        if given is None:
            raise self._no_code_given()
        self._setup.check_code(given, self._browser.address())
        body = loads_object(read_json_body(request, at_most=MAX_BODY_BYTES, within=FORM_SECONDS))
        at = self._setup.store_claude_key(_only_key(body))
        return jsonify(configured=True, setupAt=iso(at))

    # --- parts ---------------------------------------------------------------------------------

    def _ticket(self) -> Ticket | None:
        """The browser's ticket; None for whoever shows the code itself. Or `CallerError`."""
        given = request.headers.get(CODE_HEADER)
        if given is not None:
            self._setup.check_code(given, self._browser.address())
            return None
        text = self._browser.ticket()
        if text is None:
            raise self._no_code_given()
        return self._setup.ticket(text)

    def _no_code_given(self) -> CallerError:
        self._setup.codes()  # says so where there is none
        text = f"Send the setup code: the header {CODE_HEADER}."
        return CallerError(text, code=Code.UNAUTHORIZED)

    def _looked(self) -> tuple[Overview, str]:
        """What there is, and why GitHub could not be asked where the App is installed.

        It is asked where somebody wants to know, and as long as the App is installed nowhere.
        """
        seen = self._setup.overview()
        wanted = _argument("look") or _argument("installation_id") or not seen.is_installed
        if not (wanted and seen.app.is_configured):
            return seen, ""
        try:
            self._setup.look()
        except StoreUnavailableError:
            raise
        except ClaudeRunError as error:
            return seen, error.message
        return self._setup.overview(), ""

    def _return_url(self) -> str | None:
        text = self._browser.return_url()
        try:
            return check_return_url(text, self._allowed) if text else None
        except CallerError:
            return None

    def _show_create(self, ticket: Ticket | None) -> Response:
        replaces = _argument("replace") or None
        if replaces is not None and not _APP_ID.fullmatch(replaces):
            raise CallerError("replace: it must be the number of the App to replace.")
        organisation = _argument("organization").strip()
        asking = self._setup.ask(
            origin=self._browser.origin(),
            browser=_name(ticket),
            organisation=organisation_of(organisation) if organisation else None,
            replaces=replaces,
        )
        return _html(self._look.create(asking))

    def _show_overview(
        self,
        ticket: Ticket | None,
        seen: Overview,
        *,
        error: str = "",
        notice: str = "",
        look_failed: str = "",
        return_url: str | None = None,
    ) -> Response:
        page = self._look.overview(
            seen,
            form_token=ticket.form_token(self._setup.codes()[0]) if ticket is not None else "",
            is_reached=self._setup.is_reached(self._browser.origin()),
            error=error,
            notice=notice or _argument("done"),
            look_failed=look_failed,
            return_url=return_url,
        )
        return _html(page)

    def _error_page(self, error: ClaudeRunError) -> Response:
        if error.code is Code.UNAUTHORIZED:
            return _html(self._look.code())
        if error.code is Code.UNAVAILABLE and error.message == NO_CODE:
            return _html(self._look.no_code())
        heading = _HEADINGS.get(error.code, "That did not work")
        return _html(self._look.error(heading, _to_a_person(error.message)))


def _html(page: Page, status: int = 200) -> Response:
    answer = Response(page.html, status, content_type="text/html; charset=utf-8")
    answer.headers["Content-Security-Policy"] = page.policy
    answer.headers["Referrer-Policy"] = page.referrer
    return answer


def _argument(name: str) -> str:
    """A parameter of the query, empty without it; `CallerError` if it is there twice."""
    values = request.args.getlist(name)
    if len(values) > 1:
        raise CallerError(f"{name}: it is there twice.", details={"field": name})
    return values[0] if values else ""


def _only_key(fields: Mapping[str, object]) -> str:
    key = fields.get(FIELD)
    if not isinstance(key, str) or len(fields) > 1:
        raise CallerError(
            f"{FIELD}: it must be there, a string, and nothing else.", details={"field": FIELD}
        )
    return key


def _without_field(error: ClaudeRunError) -> str:
    """The sentence for a form, where it stands beside the field."""
    text = error.message.removeprefix(f"{FIELD}: ")
    return text[:1].upper() + text[1:]


def _to_a_person(message: str) -> str:
    """The message, with the name that a page has for what a program sends."""
    field, colon, rule = message.partition(": ")
    return f"{_NAMES[field]}: {rule}" if colon and field in _NAMES else message


def _name(ticket: Ticket | None) -> str:
    """What a `state` is bound to: this browser, or whoever shows the code itself."""
    return ticket.browser if ticket is not None else ""
