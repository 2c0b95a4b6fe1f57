"""Tables at the width of a terminal, in a pipe and in ASCII."""

import io
import sys

import pytest

from dse.cli import console

HEADERS = ("design", "hardware", "loss +", "J/token")
ROWS = [("115*", "30 pcm-3d 1024x1024x1024 8/7", "0.071 ± 0.005", "12.4 mJ")] * 3


class Terminal(io.TextIOWrapper):
    """Standard output that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def printed(monkeypatch, stream: io.TextIOWrapper, columns: int) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "stdout", stream)
    console.print_table(HEADERS, ROWS, title="Loss ± its error", left=2)
    stream.flush()
    return stream.buffer.getvalue().decode(stream.encoding)


@pytest.mark.parametrize("columns", [40, 60, 100])
def test_a_narrow_terminal_breaks_no_number(monkeypatch, columns: int) -> None:
    monkeypatch.setenv("TERM", "dumb")
    text = printed(monkeypatch, Terminal(io.BytesIO(), "utf-8"), columns)
    assert max(map(len, text.splitlines())) <= columns
    for word in ("115*", "1024x1024x1024", "0.071", "0.005", "12.4", "J/token"):
        assert word in text


def test_a_pipe_has_100_columns_whatever_the_environment_says(monkeypatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    text = printed(monkeypatch, io.TextIOWrapper(io.BytesIO(), "utf-8"), 20)
    assert "30 pcm-3d 1024x1024x1024 8/7" in text


def test_ascii_output_says_the_same(monkeypatch) -> None:
    text = printed(monkeypatch, io.TextIOWrapper(io.BytesIO(), "ascii"), 100)
    assert "Loss +- its error" in text and "0.071 +- 0.005" in text
    assert len({len(line) for line in text.splitlines()[1:]}) == 1


@pytest.mark.parametrize(
    ("room", "whole", "expected"),
    [
        (100, (), [4, 28, 13]),
        (30, (), [4, 14, 12]),
        (35, (2,), [4, 18, 13]),
        (30, (2,), [4, 14, 12]),
        (5, (), [4, 12, 5]),
    ],
)
def test_widths_give_way_between_words(room: int, whole: tuple, expected: list[int]) -> None:
    lines = [("a", "b", "c"), ("115*", ROWS[0][1], "0.071 ± 0.005")]
    assert console.column_widths(lines, room, whole) == expected
