"""A small checkpoint folder."""

from pathlib import Path

import pytest
from checkpoint_fixture import DEEPSEEK, deepseek_tensors, write_folder


@pytest.fixture
def deepseek(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "deepseek", DEEPSEEK, deepseek_tensors())
