"""What tests of dse share: an empty folder to work in."""

from pathlib import Path

import pytest


@pytest.fixture
def empty(tmp_path, monkeypatch) -> Path:
    """The working directory, with nothing in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
