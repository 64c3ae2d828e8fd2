"""The runs under way on this instance: admitted, stopped together at the end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from claude_run.errors import ClaudeRunError, Code, StoppedError
from runner import folders
from runner.accounts import Accounts
from runner.agent import Limits
from runner.broker.grants import Grants
from runner.cancellation import to_the_end
from runner.plan import Plan
from runner.run import Run
from runner.settings import Settings

# On a laptop; each takes about 250 MB. On Cloud Run two runs never share an instance.
MAX_RUNS = 64
RETRY_AFTER = {"Retry-After": "5"}


class Runs:
    """Used from the event loop only."""

    def __init__(self, *, settings: Settings, accounts: Accounts, grants: Grants) -> None:
        self._settings = settings
        self._accounts = accounts
        self._grants = grants
        self._under_way: set[Run] = set()
        self._stopping: ClaudeRunError | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self.broker_url = ""

    @property
    def own_users(self) -> bool:
        """Whether each run has an unprivileged user of its own."""
        return self._accounts.privileged

    @asynccontextmanager
    async def admit(self, plan: Plan) -> AsyncIterator[Run]:
        """A run whose folders exist inside the block; refuses while full or shutting down."""
        limit = 1 if self._settings.on_cloud_run else MAX_RUNS
        if self._stopping is not None or len(self._under_way) >= limit:
            raise StoppedError(
                "This instance takes no further run.", code=Code.UNAVAILABLE, headers=RETRY_AFTER
            )
        with self._accounts.borrow() as user:
            made = folders.create(plan.session_id, user)
            run = Run(
                plan=plan,
                settings=self._settings,
                folders=made,
                grants=self._grants,
                broker_url=self.broker_url,
                limits=Limits(),
            )
            self._under_way.add(run)
            self._idle.clear()
            try:
                yield run
            finally:
                try:
                    await to_the_end(asyncio.to_thread(folders.remove, made))
                finally:
                    self._under_way.discard(run)
                    if not self._under_way:
                        self._idle.set()

    def shut_down(self) -> None:
        """Take no more, and end what is under way; its streams still get their last events."""
        self._stopping = StoppedError("The runner is shutting down.", code=Code.SHUTDOWN)
        for run in self._under_way:
            run.stop(self._stopping)

    async def wait_idle(self) -> None:
        """Return when no run is under way."""
        await self._idle.wait()
