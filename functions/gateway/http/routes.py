"""The paths of all functions, as templates; whatever is counted or described uses these."""

START = "/interactive/start"
LIST = "/interactive"
STATUS = "/interactive/status"
SESSION = "/interactive/{id}"
EVENTS = "/interactive/{id}/events"
MESSAGE = "/interactive/{id}/message"
RUN = "/run"
HEALTH = "/health"
METRICS = "/metrics"
PROMETHEUS = "/metrics/prometheus"
GITHUB_STATUS = "/gh-status"
CONTAINER = "/container"
LOAD_BALANCED = "/lb"
SINGLETON = "/singleton"
OPENAPI = "/openapi.json"
WEBHOOKS = "/webhooks/github"
SETUP = "/gh-setup"
SETUP_CALLBACK = "/gh-setup/callback"
CLAUDE_SETUP = "/claude-setup"

# What the functions `webhook` and `setup` serve: no token is asked for, each has a rule of its own.
OPEN = (WEBHOOKS, SETUP, SETUP_CALLBACK, CLAUDE_SETUP)
# What `api` serves to callers, described in `/openapi.json`.
API = (
    START,
    LIST,
    STATUS,
    SESSION,
    EVENTS,
    MESSAGE,
    RUN,
    HEALTH,
    METRICS,
    PROMETHEUS,
    GITHUB_STATUS,
    CONTAINER,
    LOAD_BALANCED,
    SINGLETON,
    OPENAPI,
)
ROUTES = (*API, *OPEN)

_PARAMETER = "<session:session_id>"


def rule(template: str) -> str:
    """The template as Flask writes it."""
    return template.replace("{id}", _PARAMETER)


def template(rule: str) -> str:
    """What `rule` was given."""
    return rule.replace(_PARAMETER, "{id}")
