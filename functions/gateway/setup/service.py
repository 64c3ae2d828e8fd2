"""What the set-up does, without a word of HTTP."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import structlog

from claude_run.errors import CallerError, ClaudeRunError, Code, UpstreamError
from gateway.backoff import Backoff
from gateway.counters import Counts
from gateway.github.credentials import CLIENT_SECRET, PRIVATE_KEY, WEBHOOK_SECRET, digest
from gateway.github.opening import GitHubApp
from gateway.settings import CommonSettings
from gateway.setup import claude_key, conversion, manifest, setup_code
from gateway.setup.attempts import Attempts
from gateway.setup.conversion import NewApp
from gateway.setup.facts import AppFacts, Facts
from gateway.setup.record import AppRecord
from gateway.setup.settings import WEBHOOK
from gateway.setup.setup_code import Ticket
from gateway.setup.states import State, States
from gateway.store import Store
from gateway.vault import Vault, VaultUnavailableError

log = structlog.get_logger()

# GitHub gives the App's key away once: what it takes to keep it is tried for longer than usual.
KEEP_SECONDS = 10.0
# Somebody waits for the page.
PATIENCE_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What is done. `claude_at`: None too where nobody knows when the key came."""

    app: AppFacts
    has_claude_key: bool
    claude_at: datetime | None
    counts: Counts

    @property
    def is_installed(self) -> bool:
        """Whether the App reaches anything."""
        return self.app.record is not None and self.app.record.installation_id is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """An App to be asked for, and the `state` that goes along."""

    request: manifest.Request
    state: str
    replaces: str | None


class Setup:
    """One for each process; safe under threads."""

    def __init__(
        self,
        *,
        store: Store,
        vault: Vault,
        settings: CommonSettings,
        clock: Callable[[], datetime],
        receives: bool,
    ) -> None:
        """`receives`: whether deliveries come in at the same origin."""
        self.settings = settings
        self._vault = vault
        self._clock = clock
        self._receives = receives
        self._attempts = Attempts(store)
        self._states = States(store, vault, clock)
        self._github = GitHubApp(settings.github, store, vault, clock)
        self._facts = Facts(store=store, vault=vault, settings=settings.github, clock=clock)

    # --- who may -------------------------------------------------------------------------------

    def codes(self) -> tuple[str, ...]:
        """The codes that are valid now; UNAVAILABLE without one."""
        return setup_code.codes(self._vault)

    def check_code(self, given: str, address: str) -> None:
        """Raise `CallerError` unless it is the code, and the address has not tried too often."""
        valid = self.codes()
        self._attempts.take(address, self._clock())
        setup_code.check(given, valid)

    def ticket(self, text: str) -> Ticket:
        """The ticket of a browser, or `CallerError` UNAUTHORIZED."""
        return Ticket.parse(text, self.codes(), self._clock())

    def new_ticket(self, known: Ticket | None = None) -> str:
        """The text of a ticket, for a browser that has one already or for a new one."""
        now = self._clock()
        ticket = known.renewed(now) if known is not None else Ticket.new(now)
        return ticket.text(self.codes()[0])

    # --- what there is -------------------------------------------------------------------------

    def overview(self) -> Overview:
        """What is done and what is left."""
        has_key = self._facts.claude.is_stored()
        return Overview(
            app=self._facts.app(),
            has_claude_key=has_key,
            claude_at=self._facts.claude.stored_at() if has_key else None,
            counts=self._facts.counts(),
        )

    def look(self) -> None:
        """Ask GitHub where the App is installed, and keep it. `ClaudeRunError`."""
        from gateway.github.access import GitHubAccess
        from gateway.setup.installations import look

        key = self._github.key()
        if key is None:
            return
        access = GitHubAccess(
            settings=self.settings.github,
            key=lambda: key,
            clock=self._clock,
            patience=PATIENCE_SECONDS,
        )
        try:
            found = look(access.app(), self._clock)
        finally:
            access.close()
        self._facts.apps.seen(key.app_id, found.installations, slug=found.slug)

    # --- the Claude key ------------------------------------------------------------------------

    def store_claude_key(self, text: str) -> datetime:
        """Keep a key or token that has the right form and works. Returns when."""
        key = claude_key.check_form(text)
        claude_key.check_works(key, self.settings.setup.anthropic_url)
        at = self._facts.claude.store(key)
        log.info("the claude key was stored")
        return at

    # --- the App -------------------------------------------------------------------------------

    def ask(
        self, *, origin: str, browser: str, organisation: str | None, replaces: str | None
    ) -> Asking:
        """What a page needs to ask GitHub for an App. CONFLICT where there is one already."""
        self._check_place(replaces)
        request = manifest.Request(
            origin=origin,
            server_url=self.settings.github.server_url,
            organisation=organisation,
            webhook_url=self._webhook_url(origin),
            suffix="" if organisation and not replaces else secrets.token_hex(3),
        )
        state = self._states.new(browser, replaces=replaces)
        return Asking(request=request, state=state, replaces=replaces)

    def finish(self, code: str, state: str, browser: str) -> AppRecord:
        """Take over the App that GitHub has made: its secrets first, then that it is there.

        Whatever crashes in between, the App can be created again.
        """
        conversion.check_code(code)
        taken = self._states.take(state, browser)
        try:
            self._check_place(taken.replaces)
            self._put_first()
            app = conversion.convert(self.settings.github.api_url, code)
        except ClaudeRunError:
            self._states.give_back(taken)
            raise
        record = self._kept(app, taken)
        self._states.use_up(taken)
        log.info("the app was set up", app_id=record.app_id, slug=record.slug, owner=record.owner)
        return record

    def _kept(self, app: NewApp, state: State) -> AppRecord:
        server_url = self.settings.github.server_url
        key = app.pem.get_secret_value()
        secret = app.webhook_secret.get_secret_value() if app.webhook_secret else ""
        # Deliveries may come at once: their secret is there first.
        if secret:
            self._keep(app, WEBHOOK_SECRET, secret)
        self._keep(app, PRIVATE_KEY, key)
        if app.client_secret is not None:
            self._keep(app, CLIENT_SECRET, app.client_secret.get_secret_value())
        record = AppRecord(
            app_id=str(app.id),
            slug=app.slug,
            owner=app.owner.login,
            is_organisation=app.owner.type == "Organization",
            set_up_at=self._clock(),
            url=manifest.app_url(server_url, slug=app.slug, told=app.html_url),
            key_digest=digest(key),
            secret_digest=digest(secret) if secret else "",
        )
        self._facts.apps.store(record, replaces=state.replaces)
        return record

    def _put_first(self) -> None:
        """What the known App has, before what a try has left that came to nothing.

        The vault keeps two of a name: with the next one the known App's own would be gone.
        """
        known = self._facts.apps.record()
        if known is None:
            return
        for name, own in ((WEBHOOK_SECRET, known.secret_digest), (PRIVATE_KEY, known.key_digest)):
            values = self._vault.get_all(name)
            found = [value for value in values if digest(value) == own]
            if found and found[0] != values[0]:
                self._vault.put(name, found[0])

    def _keep(self, app: NewApp, name: str, value: str) -> None:
        reason = ""
        for _ in Backoff().tries(KEEP_SECONDS):
            try:
                # The one before stays valid: of the App that this one takes the place of, and
                # where this is not the last one.
                return self._vault.put(name, value, keep_previous=True)
            except VaultUnavailableError as error:
                reason = str(error.details["reason"])
        log.error("an app's secret was not stored", app_id=str(app.id), name=name, reason=reason)
        raise UpstreamError(
            f"GitHub created the App {app.slug}, but its secrets could not be stored. "
            "Delete it on GitHub, and create it again.",
            code=Code.UNAVAILABLE,
            details={"slug": app.slug},
        )

    def _check_place(self, replaces: str | None) -> None:
        """Raise `CallerError` CONFLICT unless a new App may take the place."""
        app = self._facts.app()
        if app.is_brought:
            raise CallerError(
                "This deployment's settings name an App (GITHUB_APP_ID, GITHUB_PRIVATE_KEY or "
                "GITHUB_WEBHOOK_SECRET), and they hold.",
                code=Code.CONFLICT,
            )
        if app.record is not None and app.record.app_id != replaces:
            raise CallerError(
                f"There is an App already: {app.record.slug}. A new one replaces it only where "
                "that is asked for.",
                code=Code.CONFLICT,
                details={"field": "replace"},
            )

    def is_reached(self, origin: str) -> bool:
        """Whether GitHub can send deliveries, as far as that can be known here."""
        return not self._receives or self._webhook_url(origin) is not None

    def _webhook_url(self, origin: str) -> str | None:
        if self.settings.setup.webhook_url is not None:
            return self.settings.setup.webhook_url
        if not self._receives:
            raise CallerError(
                "WEBHOOK_URL is not set: this function does not know where the webhook function "
                "is. Set it to that function's URL.",
                code=Code.CONFLICT,
            )
        return manifest.webhook_url_for(origin, WEBHOOK, self.settings.github.server_url)
