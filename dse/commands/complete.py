"""What the shell offers after Tab; each looks at nothing but the names of files."""


def models(incomplete: str) -> list[str]:
    """Names of the shipped models that begin as typed."""
    from workloads.architecture import model_names

    return [name for name in model_names() if name.startswith(incomplete)]


def technologies(incomplete: str) -> list[str]:
    """Names of the shipped technologies that begin as typed."""
    from hwmodels.technology import technology_names

    return [name for name in technology_names() if name.startswith(incomplete)]


def assignments(incomplete: str) -> list[str]:
    """`technology=NAME` of --fix that begin as typed."""
    return [f"technology={name}" for name in technologies("") if
            f"technology={name}".startswith(incomplete)]  # fmt: skip
