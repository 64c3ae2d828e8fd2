"""What unit tests share: a process that is as they found it, whatever they set up."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

import thoroughness  # noqa: F401 - it sets Hypothesis up
from claude_run import logs
from gateway.opening import COLLECTIONS
from gateway.store import Store, open_store
from work_items import Clock


@pytest.fixture
def clock() -> Clock:
    """Noon."""
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    """A store of its own for each test."""
    opened = open_store(f"sqlite://{tmp_path}/s/g.db", collections=COLLECTIONS, clock=clock)
    yield opened
    opened.close()


@pytest.fixture
def configure_logs() -> Iterator[Callable[..., None]]:
    """`logs.configure`, taken back after the test: what it sets is the whole process's."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield logs.configure
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
