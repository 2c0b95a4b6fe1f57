"""Where anything is kept between runs: one folder in the user's cache, one room in it a kind."""

from pathlib import Path

import platformdirs


def cache_folder(kind: str) -> Path:
    """The folder of one kind of results, which need not exist yet; XDG_CACHE_HOME moves it."""
    return platformdirs.user_cache_path("dse") / kind
