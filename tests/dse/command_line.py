"""The command line as tests call it."""

from typer.main import get_group
from typer.testing import CliRunner

from dse.cli.app import app

COMMANDS = get_group(app).commands
EXPLORE = ["explore", "--model", "deepseekmoe", "--budget-area", "200mm2"]
QUICK = ["--tokens", "1536", "--trials", "2"]


def invoke(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def one_line(result, *words: str) -> None:
    """Bad input: one line that holds these words, exit code 2, nothing on standard output."""
    assert result.exit_code == 2, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert result.stdout == ""
    for word in words:
        assert word in lines[0], lines[0]
