"""What a user asked for, read and checked once; config.json holds it to repeat the run."""

import json
import math
import operator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse import units
from dse.metrics import (
    DEFAULT_OBJECTIVES,
    Limits,
    Metric,
    metric,
    read_constraint,
)
from dse.search.space import Space, check_sharing, default_space, with_enough_tiers
from dse.simulation.mitigation_names import check_mitigation
from hwmodels.catalog import nearest

if TYPE_CHECKING:
    from pydantic import ValidationError

SAMPLERS = ("screening", "nsga2", "nsga3", "tpe", "tpe-multivariate", "gp", "random", "qmc")

# Least and most of what is counted; beyond, a number is a slip or overflows.
_COUNTS = (
    ("batch", 1, 10**6),
    ("context", 1, 10**8),
    ("trials", 1, 10**6),
    ("tokens", 64, 10**7),
)


@dataclass(frozen=True)
class Settings:
    """Everything that decides a search's result.

    Attributes:
        model: a named model or the path of a Hugging Face config.json.
        budget_area_mm2: tiles, accelerator and memory interfaces together.
        batch, context, mode: the workload point; mode is "decode" or "prefill".
        trials: designs that the sampler proposes (a simulation each, unless known or ruled out).
        seed: of the search. The noise seeds are fixed, so that runs share simulations.
        sampler: one of SAMPLERS.
        objectives: metric aliases, for instance delta_loss, energy_per_token, throughput.
        constraints: texts such as latency_per_token<=5ms.
        choices: parameters limited to some values, as `Space.limit` takes them.
        tokens, noise_seeds: size of one simulation.
        mitigation: what every placement gets against its noise, of placement.MITIGATIONS.
        checkpoint: Hugging Face folder of the model, on which placements that matter are simulated.
        checkpoint_tokens: of text that each of those is scored on.
    """

    model: str
    budget_area_mm2: float
    batch: int = 32
    context: int = 1024
    mode: str = "decode"
    trials: int = 48
    seed: int = 0
    sampler: str = "screening"
    objectives: tuple[str, ...] = DEFAULT_OBJECTIVES
    constraints: tuple[str, ...] = ()
    choices: dict[str, list[Any]] = field(default_factory=dict)
    tokens: int = 8192
    noise_seeds: int = 4
    mitigation: tuple[str, ...] = ()
    checkpoint: str | None = None
    checkpoint_tokens: int = 2048

    def __post_init__(self) -> None:
        if not isinstance(self.model, str):
            raise ValueError(f"model is {self.model!r}: a name or a path is needed")
        if not 0 < self.budget_area_mm2 < math.inf:
            raise ValueError(f"budget area is {self.budget_area_mm2} mm2: more than 0 is needed")
        for name, least, most in (*_COUNTS, ("seed", 0, 2**63 - 1)):
            value = getattr(self, name)
            if not hasattr(value, "__index__") or isinstance(value, bool):  # numpy's count too
                raise ValueError(f"{name} is {value!r}: a whole number is needed")
            if value < least:
                raise ValueError(f"{name} is {value}: at least {least}")
            if value > most:
                raise ValueError(f"{name} is {value}: at most {most:,}")
        if self.noise_seeds < 2:
            raise ValueError(f"noise seeds is {self.noise_seeds}: at least 2, for an error bar")
        for name, value, accepted in (
            ("mode", self.mode, ("decode", "prefill")),
            ("sampler", self.sampler, SAMPLERS),
        ):
            if value not in accepted:
                hint = nearest(value, accepted)
                raise ValueError(f"{name} is {value!r}: choose from {', '.join(accepted)}{hint}")
        check_mitigation(self.mitigation)
        if not self.metrics:
            raise ValueError("give at least one objective")
        if self.checkpoint is not None:
            self._check_checkpoint()
        self.limits()
        self.space()

    def _check_checkpoint(self) -> None:
        if self.noise_seeds % 2:
            raise ValueError(f"noise seeds is {self.noise_seeds}: an even number for a checkpoint")
        least = 512 if self.noise_seeds > 2 else 1024  # one row a text and one pair have no error
        if self.checkpoint_tokens < least:
            raise ValueError(f"checkpoint tokens is {self.checkpoint_tokens}: at least {least}")
        wanted = (*self.metrics, *(c.metric for c in self.limits().on_accuracy))
        if any(one.column == "accuracy" for one in wanted):
            raise ValueError(
                "accuracy is that of tasks made for the miniatures; with a checkpoint use "
                "delta_loss or top1"
            )

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The objectives, each once."""
        return tuple(dict.fromkeys(metric(name) for name in self.objectives))

    def limits(self) -> Limits:
        """Budgets and constraints, read."""
        return Limits(self.budget_area_mm2, tuple(map(read_constraint, self.constraints)))

    def space(self) -> Space:
        """The search space with the user's limits."""
        space = default_space().limit(self.choices)
        check_sharing(space)
        return with_enough_tiers(space) if "tiers" in self.choices else space

    def document(self) -> dict[str, Any]:
        """As config.json holds it."""
        return asdict(self)

    @classmethod
    def read(cls, document: dict[str, Any]) -> "Settings":
        """Read what `document` wrote.

        Raises:
            ValueError: one line with the key that is unknown, missing or of another kind; a missing
                one never becomes the default.
        """
        from pydantic import TypeAdapter, ValidationError

        if not isinstance(document, dict):
            raise ValueError(f"settings is a {type(document).__name__}, an object is needed")
        known = {entry.name for entry in fields(cls)}
        for name in sorted(known ^ set(document), key=str):
            state = "missing" if name in known else f"unknown{nearest(str(name), known)}"
            raise ValueError(f"settings.{name} is {state}")
        try:
            # As JSON, in which a list stands for a tuple.
            text = json.dumps(document, default=operator.index)
            settings = TypeAdapter(cls).validate_json(text, strict=True)
        except ValidationError as error:
            raise ValueError(one_line(error, "settings")) from None
        except (TypeError, RecursionError) as error:
            raise ValueError(f"settings: {error}") from None
        # A key that is missing deeper within would have become a default.
        whole = json.loads(json.dumps(settings.document()))
        for name, value in json.loads(text).items():
            if value != whole[name]:
                raise ValueError(f"settings.{name} is {value}, and not all of {whole[name]}")
        return settings


def one_line(error: "ValidationError", where: str) -> str:
    """The first of pydantic's findings about a document, with its key."""
    first = error.errors(include_url=False)[0]
    key = ".".join([where, *map(str, first["loc"])])
    if "ctx" in first and "error" in first["ctx"]:
        return f"{key}: {first['ctx']['error']}"
    given = repr(first["input"])
    return f"{key} is {given if len(given) < 60 else given[:57] + '...'}: {first['msg']}"


def budget_constraints(
    power: str | None = None, energy: str | None = None, min_accuracy: float | None = None
) -> tuple[str, ...]:
    """The shorthand options of the command line as constraints."""
    texts: list[str] = []
    if power is not None:
        units.parse(power, "power")
        texts.append(f"power<={power}")
    if energy is not None:
        units.parse(energy, "energy")
        texts.append(f"energy_per_token<={energy}")
    if min_accuracy is not None:
        if not 0 <= min_accuracy <= 1:
            raise ValueError(f"minimum accuracy is {min_accuracy}: a share from 0 to 1")
        texts.append(f"accuracy>={min_accuracy}")
    return tuple(texts)


def slug(model: str) -> str:
    """A model name or path as part of a folder name."""
    path = Path(model)
    stem = path.parent.name if path.name == "config.json" else path.stem
    safe = "".join(c if c.isalnum() or c in "-." else "-" for c in stem or "model").strip(".-")
    return safe or "model"
