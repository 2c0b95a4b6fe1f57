"""The search space: which designs there are, and sets of designs as columns of equal length.

Every parameter is a short ordered list of choices, so that designs meet in the same simulations:
accuracy depends on a few of them only, and only through the choices made there.
"""

import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwmodels.catalog import nearest

Choice = str | int | float
Columns = dict[str, NDArray]
"""A set of designs: one array per parameter, all of the same length."""


@dataclass(frozen=True)
class Parameter:
    """One decision: its choices in order, and which values a user may fix it to.

    Attributes:
        name: column name in candidates.parquet.
        choices: what the search may choose, in ascending order where there is one.
        minimum, maximum: bounds of a numeric parameter, None for a categorical one.
        whole: numeric values must be whole numbers.
        listed: values that a user may give, where no other has a meaning.
    """

    name: str
    choices: tuple[Choice, ...]
    minimum: float | None = None
    maximum: float | None = None
    whole: bool = True
    listed: tuple[int, ...] = ()

    @property
    def categorical(self) -> bool:
        return self.minimum is None

    @property
    def whole_range(self) -> range:
        """All values of a numeric parameter that counts."""
        if self.minimum is None or self.maximum is None or not self.whole:
            raise ValueError(f"{self.name} does not count")
        return range(int(self.minimum), int(self.maximum) + 1)

    def check(self, value: object) -> Choice:
        """Read a value given by a user, as text or from TOML.

        Raises:
            ValueError: one line with what is accepted.
        """
        if self.name == "analog_modules":
            return _checked_parts(str(value))
        if self.minimum is None or self.maximum is None:
            if value in self.choices:
                return str(value)
            accepted = [str(choice) for choice in self.choices]
            hint = nearest(value, accepted)
            raise ValueError(f"{self.name}={value}: choose from {', '.join(accepted)}{hint}")
        expected = f"a {'whole ' if self.whole else ''}number {self.minimum:g} to {self.maximum:g}"
        try:
            number = float(str(value))
        except ValueError:
            raise ValueError(f"{self.name}={value}: expected {expected}") from None
        if not self.minimum <= number <= self.maximum or (self.whole and number != int(number)):
            raise ValueError(f"{self.name}={value}: expected {expected}")
        if self.listed and number not in self.listed:
            near = min(self.listed, key=lambda one: abs(one - number))
            listed = ", ".join(map(str, self.listed))
            raise ValueError(f"{self.name}={value}: choose from {listed}; nearest is {near}")
        return int(number) if self.whole else number


def _checked_parts(text: str) -> str:
    """Dense parts as the space writes them, any set of them (`dse.placement.parts.read_parts`)."""
    from dse.placement.parts import ALL_PARTS, join_parts, read_parts

    try:
        parts = read_parts(text)
    except ValueError as error:
        raise ValueError(f"analog_modules={text}: {error}") from None
    return ALL_PARTS if text == ALL_PARTS else join_parts(parts)


def _numeric(
    name: str, choices: Sequence[float], low: float, high: float, whole: bool = True
) -> Parameter:
    return Parameter(name, tuple(choices), low, high, whole)


def _parameters() -> tuple[Parameter, ...]:
    from dse.placement.experts import SCOPES
    from dse.placement.parts import ALL_PARTS, NO_PARTS
    from dse.placement.scores import REGISTER

    searched = tuple(name for name, score in REGISTER.items() if score.searched)
    powers = [2**n for n in range(20)]
    shares = [0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    return (
        Parameter("technology", ("pcm-14nm", "pcm-3d", "rram-22nm")),
        _numeric("tile_rows", powers[7:11], 16, 8192),
        _numeric("tile_cols", powers[7:11], 16, 8192),  # weight columns
        _numeric("tiers", powers[0:11], 1, 1024),
        # Of what fits the area beside the digital accelerator.
        _numeric("tiles_share", shares, 0.0, 1.0, whole=False),
        _numeric("adc_bits", range(5, 11), 2, 14),
        _numeric("dac_bits", range(5, 9), 1, 12),
        _numeric("columns_per_adc", powers[0:7], 1, 1024),
        # By choice; experts that do not fit on the tiles come to it.
        _numeric("digital_expert_fraction", [n / 16 for n in range(17)], 0.0, 1.0, whole=False),
        Parameter("placement_score", searched),
        Parameter("placement_scope", tuple(SCOPES)),
        # Nested, from the least damage per weight to the most (`dse sensitivity`).
        Parameter(
            "analog_modules", (NO_PARTS, "shared_expert", "attention+shared_expert", ALL_PARTS)
        ),
        # Of digital modules, stored in groups with a scale of their own below 16; computed in 16.
        replace(_numeric("digital_weight_bits", (4, 8, 16), 4, 16), listed=(4, 8, 16)),
        replace(_numeric("kv_bits", (8, 16), 8, 16), listed=(8, 16)),
        # Of all dies together.
        _numeric("mac_units", powers[8:19], 1, 2**24),
        # Sides of the square matrix units that they form: small ones load their weights sooner.
        _numeric("array_rows", powers[4:8], 8, 256),
        _numeric("sram_mib", powers[0:8], 0.0625, 16384, whole=False),
        Parameter("memory", ("hbm2e", "hbm3", "hbm3e", "lpddr5x")),
        _numeric("hbm_stacks", [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64], 1, 256),
        _numeric("dies", powers[0:5], 1, 16),
    )


@dataclass(frozen=True)
class Space:
    """The parameters of a search, in the order of the table's columns."""

    parameters: tuple[Parameter, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(parameter.name for parameter in self.parameters)

    def __getitem__(self, name: str) -> Parameter:
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        hint = nearest(name, self.names) or f"; there are {', '.join(self.names)}"
        raise ValueError(f"unknown parameter {name!r}{hint}")

    @property
    def size(self) -> int:
        """Number of designs in the space."""
        return int(np.prod([len(parameter.choices) for parameter in self.parameters]))

    def limit(self, choices: Mapping[str, Sequence[object] | Choice]) -> "Space":
        """Restrict parameters to the given choices, each checked; one choice or value fixes it.

        Raises:
            ValueError: unknown parameter, value out of range, or an empty list.
        """
        limited = {}
        for name, values in choices.items():
            parameter = _admitting(self[name])
            several = [values] if isinstance(values, str | int | float) else list(values)
            if not several:
                raise ValueError(f"{name}: give at least one value")
            checked = dict.fromkeys(parameter.check(value) for value in several)
            ordered = tuple(checked) if parameter.categorical else tuple(sorted(checked))
            limited[name] = replace(parameter, choices=ordered)
        return Space(tuple(limited.get(p.name, p) for p in self.parameters))

    def for_parts(self, present: Collection[str]) -> "Space":
        """The space of a model with these dense parts: each choice of analog parts once.

        Raises:
            ValueError: a choice was asked for that names none of these parts.
        """
        from dse.placement.parts import NO_PARTS, join_parts, read_parts

        asked = self["analog_modules"].choices
        found = dict.fromkeys(
            join_parts(set(read_parts(str(choice))) & set(present)) for choice in asked
        )
        if NO_PARTS in found and NO_PARTS not in asked:
            raise ValueError(
                f"analog_modules={asked[0]}: this model has no such part to simulate, only "
                f"{', '.join(sorted(present))}"
            )
        return self.limit({"analog_modules": list(found)})

    def values(self, indices: NDArray[np.int64]) -> Columns:
        """Designs from choice numbers [designs, parameters]."""
        return {
            parameter.name: np.asarray(parameter.choices)[indices[:, column]]
            for column, parameter in enumerate(self.parameters)
        }

    def random(self, count: int, generator: np.random.Generator) -> NDArray[np.int64]:
        """Choice numbers [count, parameters] of designs drawn uniformly."""
        sizes = [len(parameter.choices) for parameter in self.parameters]
        return generator.integers(0, sizes, size=(count, len(sizes)))

    def mutate(
        self, indices: NDArray[np.int64], generator: np.random.Generator, rate: float = 0.2
    ) -> NDArray[np.int64]:
        """Neighbours of given designs: some choices move one step, categorical ones anywhere."""
        sizes = np.array([len(parameter.choices) for parameter in self.parameters])
        steps = generator.choice([-1, 1], size=indices.shape)
        stepped = np.clip(indices + steps, 0, sizes - 1)
        anywhere = generator.integers(0, sizes, size=indices.shape)
        categorical = np.array([parameter.categorical for parameter in self.parameters])
        moved = np.where(categorical, anywhere, stepped)
        return np.where(generator.random(indices.shape) < rate, moved, indices)


def _admitting(parameter: Parameter) -> Parameter:
    """A parameter with everything a user may ask for, beyond what is searched by default."""
    if parameter.name == "technology":
        from hwmodels import technology_names

        return replace(parameter, choices=technology_names())
    if parameter.name == "memory":
        from hwmodels.memory import memory_names

        return replace(parameter, choices=memory_names())
    if parameter.name == "placement_score":
        from dse.placement.scores import REGISTER

        return replace(parameter, choices=tuple(REGISTER))
    return parameter


def for_budget(space: Space, area_mm2: float) -> Space:
    """The space with as many dies as are of use to this area: up to twice those that it needs."""
    from hwmodels.die import fewest_dies

    most = 2 * float(fewest_dies(area_mm2))
    dies = [count for count in space["dies"].choices if float(count) <= most]
    return space.limit({"dies": dies})


def default_space() -> Space:
    """The space of `dse explore` when nothing is fixed."""
    return Space(_parameters())


def with_enough_tiers(space: Space) -> Space:
    """Of a space whose tiers were asked for, the technologies that have as many.

    Raises:
        ValueError: none has.
    """
    from hwmodels import load_technology

    least = min(map(int, space["tiers"].choices))
    most = {str(name): load_technology(str(name)).max_tiers for name in space["technology"].choices}
    enough = [name for name, tiers in most.items() if np.max(tiers) >= least]
    if not enough:
        allowed = ", ".join(f"{name} {np.max(tiers):g}" for name, tiers in most.items())
        raise ValueError(f"tiers={least}: more than there can be, which is {allowed}")
    return space.limit({"technology": enough})


def check_sharing(space: Space) -> None:
    """Raise ValueError where more columns share a converter than any tile has.

    Of choices that leave designs with and without enough columns, the latter share all they have.
    """
    least, most = min(space["columns_per_adc"].choices), max(space["tile_cols"].choices)
    if float(least) > float(most):
        raise ValueError(f"columns_per_adc={least}: a tile has {most} columns at most (tile_cols)")


def more_of(option: str, given: Sequence[str], following: Sequence[str] | None) -> list[str]:
    """What follows an option's value without the option: --fix technology=pcm-3d tile_rows=512.

    Raises:
        ValueError: words that no such option precedes, or that are no name=value.
    """
    words = list(following or ())
    for word in words:
        if not given or "=" not in word:
            raise ValueError(f"unexpected {word!r}: write {option} name=value")
    return words


def read_assignments(pairs: Sequence[str]) -> dict[str, list[str]]:
    """Read `--fix tile_rows=512` pairs; commas separate several allowed values.

    Raises:
        ValueError: a pair that is not name=value.
    """
    assignments = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        values = [value.strip() for value in text.split(",") if value.strip()]
        if not equals or not name.strip() or not values:
            raise ValueError(f"{pair!r}: write name=value, for instance tile_rows=512")
        if name.strip() in assignments:
            raise ValueError(f"{name.strip()} is given twice: write {name.strip()}=a,b for choices")
        assignments[name.strip()] = values
    return assignments


def read_space_file(path: Path) -> dict[str, list[object]]:
    """Read a space file (TOML): a value fixes a parameter, a list limits it, a range cuts it.

        technology = ["pcm-14nm", "pcm-3d"]
        tile_rows = 512
        adc_bits = { minimum = 6, maximum = 8 }

    Returns:
        Choices for `Space.limit`.

    Raises:
        ValueError: unreadable file, unknown key, or a range that leaves nothing.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read space file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"space file {path} is not TOML: {error}") from error
    space = default_space()
    try:
        choices = {name: _file_choices(space[name], entry) for name, entry in table.items()}
        space.limit(choices)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return choices


def _file_choices(parameter: Parameter, entry: object) -> list[object]:
    if not isinstance(entry, dict):
        return list(entry) if isinstance(entry, list) else [entry]
    unknown = sorted(set(entry) - {"minimum", "maximum"})
    if unknown:
        raise ValueError(
            f"{parameter.name}.{unknown[0]} is unknown; a range has minimum and maximum"
        )
    if parameter.categorical:
        raise ValueError(f"{parameter.name} has no order; give a list of names")
    low = float(parameter.check(entry.get("minimum", parameter.minimum)))
    high = float(parameter.check(entry.get("maximum", parameter.maximum)))
    inside = [choice for choice in parameter.choices if low <= float(choice) <= high]
    if not inside:
        raise ValueError(f"no choice of {parameter.name} lies in {low:g} to {high:g}")
    return list(inside)
