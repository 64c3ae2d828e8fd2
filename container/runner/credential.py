"""The credential of a run, and how Anthropic wants it presented. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import SecretStr

from claude_run.credential import CredentialKind
from claude_run.errors import CallerError, Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A key or an OAuth token. Its text is only ever put into a header by the broker."""

    kind: CredentialKind
    secret: SecretStr

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The header that authenticates a request."""
        value = self.secret.get_secret_value().encode("ascii")
        if self.kind is CredentialKind.OAUTH:
            return [(b"authorization", b"Bearer " + value)]
        return [(b"x-api-key", value)]


def credential_from(secret: SecretStr) -> Credential:
    """A credential that came without its kind."""
    return Credential(kind=CredentialKind.of(secret.get_secret_value()), secret=secret)


def credential_from_environ(environ: Mapping[str, str]) -> Credential | None:
    """The runner's own credential, as on a laptop; a key wins over a token, as in Claude Code."""
    for kind in (CredentialKind.API_KEY, CredentialKind.OAUTH):
        if text := environ.get(kind.value):
            return Credential(kind=kind, secret=SecretStr(text))
    return None


def choose(requested: SecretStr | None, own: Credential | None) -> Credential:
    """The request's credential, else the runner's own, else `CallerError` NO_CREDENTIAL."""
    if requested is not None:
        return credential_from(requested)
    if own is not None:
        return own
    raise CallerError(
        "There is no Anthropic credential: send anthropicApiKey, or store one.",
        code=Code.NO_CREDENTIAL,
        details={"field": "anthropicApiKey"},
    )
