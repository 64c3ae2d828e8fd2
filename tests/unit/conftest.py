"""What unit tests share: a process that is as they found it, whatever they set up."""

import logging
from collections.abc import Callable, Iterator

import pytest
import structlog

import thoroughness  # noqa: F401 - it sets Hypothesis up
from claude_run import logs


@pytest.fixture
def configure_logs() -> Iterator[Callable[..., None]]:
    """`logs.configure`, taken back after the test: what it sets is the whole process's."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield logs.configure
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
