"""Who may call the runner, by the rule of its deployment."""

import base64
import json

import httpx2
import pytest
from conftest import MakeRunner

import servers

pytestmark = pytest.mark.e2e


def unsigned(**claims: object) -> str:
    """A token as Cloud Run hands it on: its signature replaced."""

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'RS256', 'kid': 'x'})}.{part(claims)}.SIGNATURE_REMOVED_BY_GOOGLE"


def status_of(server: servers.Server, token: str | None) -> int:
    """What `GET /health` answers to a token."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = httpx2.get(f"{server.url}/health", headers=headers, trust_env=False)
    if answer.status_code != 200:
        assert set(answer.json()) == {"error", "code", "details"}
    return answer.status_code


def test_behind_iam_the_claims_are_read(make_runner: MakeRunner) -> None:
    """IAM has verified the token; without one nobody came through IAM."""
    server = make_runner(AUTH="iam", K_SERVICE="runner", HOST="127.0.0.1")
    assert status_of(server, unsigned(sub="1", email="a@example.com", email_verified=True)) == 200
    assert status_of(server, None) == 401
    assert status_of(server, "nonsense") == 401


def test_with_verify_an_unsigned_token_opens_nothing(make_runner: MakeRunner) -> None:
    """Whatever it claims; without Google's certificates nobody is let in either."""
    server = make_runner(
        AUTH="verify", AUTH_AUDIENCE="https://runner", AUTH_ALLOWED_CALLERS="a@example.com"
    )
    assert status_of(server, None) == 401
    forged = unsigned(
        sub="1",
        email="a@example.com",
        email_verified=True,
        aud="https://runner",
        iss="https://accounts.google.com",
        exp=4_000_000_000,
    )
    assert status_of(server, forged) in (401, 503)
