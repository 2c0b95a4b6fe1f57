"""The architecture that the README describes against the code: every file, every import."""

import ast
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROOMS = ("workloads", "hwmodels", "dse", "reports")
MAY_IMPORT = {"workloads": set(), "hwmodels": set(), "reports": set(), "dse": set(ROOMS)}
# The one door from the search to the report; nothing before it loads plotly.
DOOR = "dse/runs/record.py"


def imported_rooms(file: Path) -> set[str]:
    """Rooms that a file imports from, inside functions too."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names} & set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_one_way(room: str) -> None:
    for file in (ROOT / room).rglob("*.py"):
        others = imported_rooms(file) - {room}
        assert others <= MAY_IMPORT[room], f"{file.relative_to(ROOT)} imports {others}"
        assert "reports" not in others or file == ROOT / DOOR


@pytest.mark.parametrize("room", ["workloads", "hwmodels", "dse"])
def test_every_file_stands_in_the_readme_and_no_other(room: str) -> None:
    rows = README.partition(f"| in `{room}/` |")[2].partition("\n\n")[0].splitlines()[2:]
    listed = [name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])]
    files = [path.relative_to(ROOT / room).as_posix() for path in (ROOT / room).rglob("*.py")]
    files = [file for file in files if "__" not in file]
    patterns = [f"{name}*" if name.endswith("/") else name for name in listed]
    assert [file for file in files if not any(fnmatch(file, one) for one in patterns)] == []
    assert [one for one in patterns if not any(fnmatch(file, one) for file in files)] == []
