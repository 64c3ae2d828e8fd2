"""What a log line says, and what it must not."""

import json
import logging

import pytest
import structlog

from claude_run import logs


def _fail(token: str) -> None:
    header = {"x-api-key": token}
    raise RuntimeError(f"a failure with {len(header)} header")


def test_a_traceback_names_places_and_no_values(capsys: pytest.CaptureFixture[str]) -> None:
    """The variables of the frames that failed hold tokens; their lines and names do not."""
    logs.configure()
    try:
        _fail("sk-planted-in-a-frame")
    except RuntimeError:
        structlog.get_logger().exception("unexpected error", session_id="s")
    finally:
        structlog.reset_defaults()
    printed = capsys.readouterr().err
    line = json.loads(printed)
    assert (line["message"], line["severity"], line["session_id"]) == (
        "unexpected error", "ERROR", "s",
    )  # fmt: skip
    assert line["exception"][0]["exc_value"] == "a failure with 1 header"
    assert [frame["name"] for frame in line["exception"][0]["frames"]][-1] == "_fail"
    assert "sk-planted" not in printed


def test_what_libraries_log_has_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    """One JSON line for a warning or worse of uvicorn and its like; nothing for less."""
    logs.configure()
    try:
        logging.getLogger("uvicorn.error").warning("refused %s", "it")
        logging.getLogger("uvicorn.error").info("not worth a line")
    finally:
        structlog.reset_defaults()
        logging.getLogger().handlers.clear()
    line = json.loads(capsys.readouterr().err)
    assert (line["message"], line["severity"], line["logger"]) == (
        "refused it", "WARNING", "uvicorn.error",
    )  # fmt: skip
