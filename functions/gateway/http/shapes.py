"""The answers that are no session's, as `/openapi.json` describes them."""

from typing import Any, Literal

from pydantic import AwareDatetime, Field

from claude_run.wire import Wire


class RunError(Wire):
    """The body of a refused `POST /run`."""

    error: str
    code: str
    details: dict[str, Any]


class RunWarning(Wire):
    """Something in the request has no effect, or another one."""

    code: str
    message: str


class Component(Wire):
    """A part that works, or does not."""

    status: Literal["operational", "unavailable"]
    message: str | None = None


class Configured(Wire):
    """A part that is set up, or is not."""

    status: Literal["configured", "not configured"]
    configured: bool
    message: str | None = None


class Components(Wire):
    """What the gateway depends on; `durable_objects` reports the store."""

    durable_objects: Component
    containers: Component
    github_app: Configured
    claude_config: Configured
    rate_limit: Configured


class Requests(Wire):
    """Requests answered, by the template of their path and by status."""

    total: int
    by_route: dict[str, int]
    by_status: dict[str, int]


class RequestShares(Requests):
    """With the part of them that succeeded."""

    success_rate: float


class Containers(Wire):
    """Runs: of now, all, and those that failed."""

    active: int
    total: int
    errors: int


class HealthMetrics(Wire):
    """Metrics in short."""

    requests: RequestShares
    containers: Containers
    average_response_time: float
    error_rate: float


class QuotaView(Wire):
    """What of today's quota is used; `reason` where a run would be refused."""

    daily_tokens: int
    max_daily_tokens: int
    remaining_tokens: int
    daily_cost: float
    max_daily_cost: float
    remaining_cost: float
    active_sessions: int
    max_concurrent_sessions: int
    allowed: bool
    reason: str | None = None


class GithubHealth(Wire):
    """The GitHub App in short."""

    app_id: str | None = None
    installation_id: str | None = None
    repository_count: int
    total_webhooks: int
    last_webhook_at: AwareDatetime | None


class HealthView(Wire):
    """Whoever shows no identity token is told the status alone."""

    status: Literal["healthy", "degraded", "unhealthy"]
    timestamp: AwareDatetime | None = None
    uptime: int | None = Field(default=None, description="milliseconds")
    version: str | None = None
    environment: str | None = None
    components: Components | None = None
    metrics: HealthMetrics | None = None
    quota: QuotaView | None = None
    github: GithubHealth | None = None


class WebhookStats(Wire):
    """Deliveries that were taken in."""

    total_webhooks: int
    last_webhook_at: AwareDatetime | None


class MetricsView(Wire):
    """The deployment's counters, seconds old."""

    requests: Requests
    containers: Containers
    average_response_time: float
    deployment_start_time: AwareDatetime | None
    uptime: int = Field(description="milliseconds")
    version: str
    webhook_stats: WebhookStats


class GithubView(Wire):
    """The GitHub App."""

    configured: bool
    app_id: str | None = None
    owner: str | None = None
    repository_count: int | None = None


class ClaudeView(Wire):
    """The stored key."""

    configured: bool
    setup_at: AwareDatetime | None = None


class CheckView(Wire):
    """What the App lacks on GitHub, and what did not arrive; or why GitHub does not say."""

    error: str | None = None
    missing_permissions: list[str] | None = None
    missing_events: list[str] | None = None
    failed_deliveries: int | None = None


class ConfigurationView(Wire):
    """What is set up."""

    github: GithubView
    claude: ClaudeView
    check: CheckView | None = None


class ProbeView(Wire):
    """Which instance of the runner answered, and how fast."""

    status: Literal["ok"]
    instance_id: str | None
    milliseconds: float
