"""What every test shares: one torch thread per worker, a cache of their own, one small search."""

import os
from pathlib import Path

# Two pytest workers share two cores; more threads a worker would only wait for each other.
# Set before torch is imported, hence here and not in a fixture.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from filelock import FileLock
from hypothesis import settings

# The first example of a property pays for imports, so a deadline per example says nothing. The same
# examples each time: a test that fails says something about the change in hand. To look for others:
# pytest --hypothesis-profile=explore.
settings.register_profile("dse", deadline=None, max_examples=50, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=500)
settings.load_profile("dse")

# A file goes to one worker whole, so the longest begin first: none is left alone at the end.
LONGEST = ("test_browser_views", "test_workers", "test_cli_processes", "test_browser_use",
           "test_checkpoint_search", "test_finished_run", "test_notebooks", "test_reproduce",
           "test_generated", "test_cost_simulation", "test_checkpoint_simulation", "test_search",
           "test_cli", "test_decisions")  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else 99)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A temporary folder that all workers of this session share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if folder.name.startswith("popen-") else folder


@pytest.fixture(scope="session", autouse=True)
def own_cache(shared_folder: Path):
    """Measured scores and finished simulations are kept there, and not among the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(shared_folder / "cache"))
        yield


@pytest.fixture(scope="session")
def small_run(shared_folder: Path) -> Path:
    """A run of the README's command on little text, searched once for all workers.

    For reading: a test that changes it works on a copy. terminal.txt is what the command printed.
    """
    folder = shared_folder / "small-run"
    with FileLock(f"{folder}.lock"):
        if not (folder / "terminal.txt").exists():
            from typer.testing import CliRunner

            from dse.cli.app import app

            command = "explore --model deepseekmoe --budget-area 200mm2 --tokens 1536 --trials 2"
            result = CliRunner().invoke(app, [*command.split(), "--output", str(folder)])
            assert result.exit_code == 0, result.output
            (folder / "terminal.txt").write_text(result.stdout)
    return folder
