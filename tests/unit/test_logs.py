"""What a log line says, and what it must not."""

import json
import logging
from collections.abc import Callable

import pytest
import structlog


def _fail(token: str) -> None:
    header = {"x-api-key": token}
    raise RuntimeError(f"a failure with {len(header)} header")


def test_a_traceback_names_places_and_no_values(
    capsys: pytest.CaptureFixture[str], configure_logs: Callable[..., None]
) -> None:
    """The variables of the frames that failed hold tokens; their lines and names do not."""
    configure_logs()
    try:
        _fail("sk-planted-in-a-frame")
    except RuntimeError:
        structlog.get_logger().exception("unexpected error", session_id="s")
    printed = capsys.readouterr().err
    line = json.loads(printed)
    assert (line["message"], line["severity"], line["session_id"]) == (
        "unexpected error", "ERROR", "s",
    )  # fmt: skip
    assert line["exception"][0]["exc_value"] == "a failure with 1 header"
    assert [frame["name"] for frame in line["exception"][0]["frames"]][-1] == "_fail"
    assert "sk-planted" not in printed


def test_what_libraries_log_has_the_same_form(
    capsys: pytest.CaptureFixture[str], configure_logs: Callable[..., None]
) -> None:
    """One JSON line for a warning or worse of whoever uses `logging`; nothing for less."""
    configure_logs()
    library = logging.getLogger("a.library")
    library.warning("refused %s", "it")
    library.info("not worth a line")
    line = json.loads(capsys.readouterr().err)
    assert (line["message"], line["severity"], line["logger"]) == (
        "refused it", "WARNING", "a.library",
    )  # fmt: skip
