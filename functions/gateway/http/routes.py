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
DELIVERIES = "/deliveries"
DELIVERY = "/deliveries/{deliveryId}"
REPLAY = "/deliveries/{deliveryId}/replay"
PROCESS_ISSUE = "/container/process-issue"
SWEEP = "/internal/sweep"
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
    DELIVERIES,
    DELIVERY,
    REPLAY,
    PROCESS_ISSUE,
    SWEEP,
)
ROUTES = (*API, *OPEN)

_PARAMETERS = {"{id}": "<session:session_id>", "{deliveryId}": "<delivery_id>"}


def rule(template: str) -> str:
    """The template as Flask writes it."""
    for name, parameter in _PARAMETERS.items():
        template = template.replace(name, parameter)
    return template


def template(rule: str) -> str:
    """What `rule` was given."""
    for name, parameter in _PARAMETERS.items():
        rule = rule.replace(parameter, name)
    return rule
