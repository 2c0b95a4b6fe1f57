"""What the shell offers after Tab; each looks at nothing but names that ship."""

from collections.abc import Iterable

import typer


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


STUDY_ACTIONS = ("list", "remove")


def study_actions(incomplete: str) -> list[str]:
    """What `dse study` does."""
    return _beginning(incomplete, STUDY_ACTIONS)


def models(incomplete: str) -> list[str]:
    """Names of the shipped models."""
    from workloads.architecture import model_names

    return _beginning(incomplete, model_names())


def technologies(incomplete: str) -> list[str]:
    """Names of the shipped technologies."""
    from hwmodels.technology import technology_names

    return _beginning(incomplete, technology_names())


def noise_models(incomplete: str) -> list[str]:
    """Names of --noise-model."""
    from hwmodels.technology import NOISE_MODELS

    return _beginning(incomplete, NOISE_MODELS)


def scores(incomplete: str) -> list[str]:
    """Names of selection scores."""
    from dse.placement.scores import REGISTER

    return _beginning(incomplete, tuple(REGISTER))


def mitigations(incomplete: str) -> list[str]:
    """Names of --mitigation."""
    from dse.simulation.mitigation_names import MITIGATIONS

    return _beginning(incomplete, MITIGATIONS)


def cooling(incomplete: str) -> list[str]:
    """Names of --cooling."""
    from hwmodels.heat import LIMIT_W_PER_MM2

    return _beginning(incomplete, LIMIT_W_PER_MM2)


def samplers(incomplete: str) -> list[str]:
    """Names of --sampler."""
    from dse.search.settings import SAMPLERS

    return _beginning(incomplete, SAMPLERS)


def metrics(incomplete: str) -> list[str]:
    """Names of --objective, and what --constraint and --weights begin with."""
    from dse.metrics import METRICS

    return _beginning(incomplete, [known.alias for known in METRICS])


def preferences(incomplete: str) -> list[str]:
    """Names of --prefer."""
    from dse.search.rule import PREFERENCES

    return _beginning(incomplete, PREFERENCES)


def figures(incomplete: str) -> list[str]:
    """Names that `dse reproduce` takes."""
    from dse.experiments.reproduce.claims import FIGURES

    return _beginning(incomplete, FIGURES)


def assignments(ctx: typer.Context, incomplete: str) -> list[str]:
    """`parameter=` of --fix, then its values.

    bash splits words at "=" and asks for the value alone, as an argument after "=".
    """
    from dse.search.space import default_space

    space = default_space()
    named = [*ctx.params.get("fix", ()), *(ctx.params.get("more") or ())]
    if named and named[-1] == "=":
        named.pop()
    if named and named[-1] in space.names:
        return _beginning(incomplete, _values(named[-1]))
    name, equals, _ = incomplete.partition("=")
    begun = _beginning(name, space.names)
    if not equals and len(begun) > 1:
        return [f"{one}=" for one in begun]
    name = begun[0] if len(begun) == 1 else name  # its values at once: no space after "="
    if name not in space.names:
        return []
    return _beginning(incomplete, [f"{name}={value}" for value in _values(name)])


def _values(name: str) -> list[str]:
    """What a parameter may be fixed to: all technologies, else what is searched."""
    from dse.search.space import default_space

    if name == "technology":
        return technologies("")
    return [str(choice) for choice in default_space()[name].choices]
