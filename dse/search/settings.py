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
from dse.search.rule import Rule, read_rule
from dse.search.space import (
    Space,
    check_sharing,
    default_space,
    for_budget,
    with_enough_tiers,
)
from dse.simulation.mitigation_names import check_mitigation
from hwmodels.catalog import nearest
from hwmodels.heat import LIMIT_W_PER_MM2

if TYPE_CHECKING:
    from pydantic import ValidationError

SAMPLERS = ("screening", "nsga2", "nsga3", "tpe", "tpe-multivariate", "gp", "random", "qmc")

LEAST_TOKENS = 1536
"""Two sequences of each task of `workloads.tasks`, and as much text."""

# Least and most of what is counted; beyond, a number is a slip or overflows.
_COUNTS = (
    ("concurrency", 1, 10**6),
    ("context", 1, 10**8),
    ("prompt", 1, 10**8),
    ("output_tokens", 1, 10**8),
    ("trials", 1, 10**6),
    ("tokens", LEAST_TOKENS, 10**7),
)


@dataclass(frozen=True)
class Settings:
    """Everything that decides a search's result.

    Attributes:
        model: a named model or the path of a Hugging Face config.json.
        budget_area_mm2: tiles, accelerator and memory interfaces together.
        concurrency, context, prompt, output_tokens: see `dse.cost.workload.Traffic`.
        cooling: what takes the heat away, of hwmodels.heat.LIMIT_W_PER_MM2.
        trials: designs that the sampler proposes (a simulation each, unless known or ruled out).
        seed: of the search. The noise seeds are fixed, so that runs share simulations.
        sampler: one of SAMPLERS.
        objectives: metric aliases, for instance delta_loss, energy_per_token, throughput.
        constraints: texts such as latency_per_token<=5ms.
        max_loss, prefer: of the recommendation, see `dse.search.rule`.
        choices: parameters limited to some values, as `Space.limit` takes them.
        tokens, noise_seeds: size of one simulation.
        age_s: from programming to use (s), with global drift compensation; 0: just programmed.
        magnitude: of the programming noise.
        mitigation: what every placement gets against its noise, of placement.MITIGATIONS.
        checkpoint: Hugging Face folder of the model, on which placements that matter are simulated.
        checkpoint_tokens: of text that each of those is scored on.
    """

    model: str
    budget_area_mm2: float
    concurrency: int = 32
    context: int = 1024
    prompt: int | None = None
    output_tokens: int | None = None
    cooling: str = "cold-plate"
    trials: int = 48
    seed: int = 0
    sampler: str = "screening"
    objectives: tuple[str, ...] = DEFAULT_OBJECTIVES
    constraints: tuple[str, ...] = ()
    max_loss: str = "1point"
    prefer: str = "energy"
    choices: dict[str, list[Any]] = field(default_factory=dict)
    tokens: int = 8192
    noise_seeds: int = 4
    age_s: float = 86400.0
    magnitude: float = 1.0
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
            if value is None and name in ("prompt", "output_tokens"):
                continue
            if not hasattr(value, "__index__") or isinstance(value, bool):  # numpy's count too
                raise ValueError(f"{name} is {value!r}: a whole number is needed")
            if value < least:
                raise ValueError(f"{name} is {value}: at least {least}")
            if value > most:
                raise ValueError(f"{name} is {value}: at most {most:,}")
        if self.noise_seeds < 2:
            raise ValueError(f"noise seeds is {self.noise_seeds}: at least 2, for an error bar")
        for name, value, accepted in (
            ("cooling", self.cooling, tuple(LIMIT_W_PER_MM2)),
            ("sampler", self.sampler, SAMPLERS),
        ):
            if value not in accepted:
                hint = nearest(value, accepted)
                raise ValueError(f"{name} is {value!r}: choose from {', '.join(accepted)}{hint}")
        check_age(self.age_s)
        if not (math.isfinite(self.magnitude) and self.magnitude >= 0):
            raise ValueError(
                f"magnitude is {self.magnitude}: a finite number, 0 or more, is needed"
            )
        self._check_traffic()
        check_mitigation(self.mitigation)
        if not self.metrics:
            raise ValueError("give at least one objective")
        if self.checkpoint is not None:
            self._check_checkpoint()
        self.limits()
        self.rule()
        self.space()

    def _check_traffic(self) -> None:
        from dse.cost.workload import Traffic

        Traffic(self.concurrency, self.context, self.prompt, self.output_tokens)
        wanted = (*self.metrics, *(one.metric for one in self.limits().constraints))
        first = any(one.column == "time_to_first_token_s" for one in wanted)
        if first and self.prompt is None:
            raise ValueError(
                "time_to_first_token is that of requests: give --prompt and --output-tokens"
            )

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

    def rule(self) -> Rule:
        """What is recommended."""
        return read_rule(self.max_loss, self.prefer, self.constraints)

    def space(self) -> Space:
        """The search space with the user's limits."""
        space = for_budget(default_space(), self.budget_area_mm2).limit(self.choices)
        check_sharing(space)
        if too_young := self.without_such_an_age():
            space = space.limit({"technology": self._old_enough(space, too_young)})
        return with_enough_tiers(space) if "tiers" in self.choices else space

    def without_such_an_age(self) -> dict[str, str]:
        """Technologies whose noise was not measured at the age, with the reason in one line."""
        from hwmodels.noise_models import check_age as check_measured
        from hwmodels.technology import load_technology

        found = {}
        for name in map(str, default_space().limit(self.choices)["technology"].choices):
            try:
                check_measured(str(load_technology(name).noise_model), self.age_s or None)
            except ValueError as error:
                found[name] = str(error)
        return found

    def _old_enough(self, space: Space, too_young: dict[str, str]) -> list[Any]:
        """Technologies that are left; asked for by name, or none left, it is an error."""
        asked = "technology" in self.choices
        left = [name for name in space["technology"].choices if str(name) not in too_young]
        if asked or not left:
            name, reason = next(iter(too_young.items()))
            raise ValueError(f"technology {name}: {reason}")
        return left

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


def check_age(age_s: float) -> None:
    """Raise ValueError for an age (s) that is none."""
    if not (math.isfinite(age_s) and age_s >= 0):
        raise ValueError(f"age is {age_s} s: a finite number of seconds, 0 or more, is needed")


def budget_constraints(
    power: str | None = None,
    energy: str | None = None,
    min_accuracy: float | None = None,
    cost: str | None = None,
) -> tuple[str, ...]:
    """The shorthand options of the command line as constraints."""
    texts: list[str] = []
    if power is not None:
        units.parse(power, "power")
        texts.append(f"power<={power}")
    if energy is not None:
        units.parse(energy, "energy")
        texts.append(f"energy_per_token<={energy}")
    if cost is not None:
        texts.append(f"cost<={cost}")
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
