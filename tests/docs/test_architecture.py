"""The architecture that the README describes against the code: every room, and no other.

Who may import whom is a contract in pyproject.toml, checked with the linters.
"""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_room_stands_in_the_readme_and_no_other() -> None:
    rows = README.partition("| room | what lives there |")[2].partition("\n\n")[0].splitlines()[2:]
    listed = {row.split("`")[1].rstrip("/") for row in rows}
    packages = {"workloads", "hwmodels", "reports"}
    packages |= {f"dse/{path.parent.name}" for path in (ROOT / "dse").glob("*/__init__.py")}
    assert listed == packages


def test_every_file_that_the_documents_name_exists() -> None:
    for document in ("README.md", "CONTRIBUTING.md", "docs/search.md", "docs/checkpoints.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        for name in re.findall(
            r"`((?:dse|hwmodels|workloads|reports|benchmarks|docs|tests)/[\w/.]+)`", text
        ):
            assert "NAME" in name or (ROOT / name).exists(), f"{document} names {name}"
