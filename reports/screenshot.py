"""A picture of a run's report for a README: python -m reports.screenshot RUN_FOLDER PICTURE.png."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from reports.html import write_report

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--hide-scrollbars", "--force-device-scale-factor=0.8")  # fmt: skip


def screenshot(
    run_folder: Path | str, picture: Path | str, *, width: int = 1280, height: int = 1450
) -> Path:
    """Write the report of a run and photograph its top ``width`` x ``height`` pixels, at 0.8
    of their size: a README is narrow and a repository is no place for large pictures.

    Raises ValueError when there is no run, no Chromium, or Chromium makes no picture in a minute.
    """
    browser = next((path for name in NAMES if (path := shutil.which(name))), None)
    if browser is None:
        raise ValueError(f"a picture needs Chromium: none of {', '.join(NAMES)} is installed")
    page = write_report(run_folder).resolve()
    picture = Path(picture).resolve()
    picture.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, *FLAGS, f"--user-data-dir={profile}", f"--screenshot={picture}",
                   f"--window-size={width},{height}", "--virtual-time-budget=20000",
                   page.as_uri()]  # fmt: skip
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=120)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise ValueError(f"Chromium made no picture of {page}: {error}") from None
    if not picture.is_file():
        raise ValueError(f"Chromium made no picture of {page}")
    return picture


def main() -> None:
    """The command line: a run folder and where the picture goes."""
    if len(sys.argv) != 3:
        sys.exit("usage: python -m reports.screenshot RUN_FOLDER PICTURE.png")
    try:
        print(screenshot(sys.argv[1], sys.argv[2]))
    except ValueError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
