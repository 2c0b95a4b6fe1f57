"""The eight benchmarks of the paper through lm-evaluation-harness, with data from a local folder.

This is the only module that imports `lm_eval` (the extra "eval"). Task definitions are those that
the harness ships; only where their data lies is replaced, so that nothing is downloaded.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dse.checkpoints.likelihoods import Request, Scorer
from dse.simulation.statistics import Array, stratified_mean

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
try:
    import lm_eval.tasks
    from lm_eval import evaluator, utils
    from lm_eval.api.model import TemplateLM
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks._yaml_loader import load_yaml
except ImportError as error:
    raise ValueError(
        f"the benchmarks need lm-evaluation-harness ({error}): pip install 'analog-moe-dse[eval]'"
    ) from None

DEFINITIONS = {
    "piqa": "piqa/piqa.yaml",
    "arc_easy": "arc/arc_easy.yaml",
    "arc_challenge": "arc/arc_challenge.yaml",
    "boolq": "super_glue/boolq/default.yaml",
    "hellaswag": "hellaswag/hellaswag.yaml",
    "winogrande": "winogrande/default.yaml",
    "mathqa": "mathqa/mathqa.yaml",
    "mmlu": "mmlu/default/mmlu_{subject}.yaml",
}
FORMATS = {"parquet": "parquet", "jsonl": "json", "json": "json"}
METRICS = ("acc", "acc_norm")


@dataclass(frozen=True)
class TaskResult:
    """One benchmark: accuracies (shares of its questions) with standard errors.

    clean_stderr: for drawing other questions. accuracy and difference (from clean) are means over
    the noise seeds, their errors for drawing other questions and other noise; the difference is
    paired: the same questions.
    """

    task: str
    metric: str
    questions: int
    clean: float
    clean_stderr: float
    accuracy: float
    accuracy_stderr: float
    difference: float
    difference_stderr: float


class NoisyLM(TemplateLM):
    """One view of a Scorer as the harness's language model: 0 is clean, then the noise draws."""

    def __init__(self, scorer: Scorer, view: int) -> None:
        super().__init__()
        self.scorer, self.view = scorer, view
        self.longest = int(scorer.checkpoint.config.get("max_position_embeddings") or 2048)

    @property
    def eot_token_id(self) -> int:
        """Begins what has no context: the first of config.json's begin or end tokens."""
        config = self.scorer.checkpoint.config
        for key in ("bos_token_id", "eos_token_id"):
            value = config.get(key)
            first = value[0] if isinstance(value, list) and value else value
            if isinstance(first, int):
                return first
        raise ValueError(
            f"{self.scorer.checkpoint.path / 'config.json'}: bos_token_id or eos_token_id is "
            "needed for a question without context"
        )

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **kwargs: Any
    ) -> list[int]:
        special = True if add_special_tokens is None else add_special_tokens
        ids: list[int] = self.scorer.tokenizer.encode(string, add_special_tokens=special).ids
        return ids

    def loglikelihood(self, requests: Any, disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        found: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        return found

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        """Contexts that are too long lose their beginning, as the harness does it."""
        pairs: list[Request] = []
        for _, context, rest in requests:
            kept = max(self.longest + 1 - len(rest), 1)
            pairs.append((context[-kept:], rest))
        return [
            (float(value), bool(greedy)) for value, greedy in self.scorer.scores(pairs)[self.view]
        ]

    def loglikelihood_rolling(self, requests: Any, disable_tqdm: bool = False) -> list[float]:
        totals = []
        for request in requests:
            windows = utils.get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0], add_special_tokens=False),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.longest,
                context_len=1,
            )
            pairs = [("", *utils.make_disjoint_window(window)) for window in windows]
            totals.append(sum(value for value, _ in self._loglikelihood_tokens(pairs)))
        return totals

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        raise ValueError("this task generates text; only tasks that choose or score text are run")


def load_tasks(folder: str | Path, names: Sequence[str]) -> dict[str, ConfigurableTask]:
    """Tasks by the harness's names, with data from `folder`; MMLU is one task a subject.

    A task's data is FOLDER/TASK/SPLIT*.parquet, .jsonl or .json (MMLU: FOLDER/mmlu/SUBJECT/...).
    FOLDER/TASK.yaml defines a task of one's own.

    Raises:
        ValueError: an unknown task, no data, data that a task cannot read.
    """
    root = Path(folder)
    tasks: dict[str, ConfigurableTask] = {}
    for name in dict.fromkeys(names):
        own = root / f"{name}.yaml"
        if not own.exists() and name not in DEFINITIONS:
            known = ", ".join(DEFINITIONS)
            raise ValueError(f"no task {name!r}: there are {known}, or write {own}")
        if name == "mmlu" and not own.exists():
            subjects = sorted(part.name for part in (root / name).glob("*") if part.is_dir())
            if not subjects:
                raise ValueError(f"{root / name} has no folder of a subject, such as anatomy")
            for subject in subjects:
                file = _shipped(DEFINITIONS[name].format(subject=subject))
                if not file.exists():
                    raise ValueError(f"{root / name / subject}: MMLU has no such subject")
                tasks[f"mmlu_{subject}"] = _task(file, root / name / subject)
            continue
        file = own if own.exists() else _shipped(DEFINITIONS[name])
        tasks[name] = _task(file, root / name)
    return tasks


def _shipped(definition: str) -> Path:
    return Path(lm_eval.tasks.__file__).parent / definition


def _task(definition: Path, data: Path) -> ConfigurableTask:
    """A task without examples in its prompt (zero-shot), as the paper evaluates."""
    config = load_yaml(definition)
    split = "test_split" if config.get("test_split") else "validation_split"
    files, kind = _data_files(data, str(config.get(split)))
    # The names of the other splits must go: their files are not asked for.
    unused = dict.fromkeys(("training_split", "validation_split", "test_split", "fewshot_split"))
    config |= {
        **unused,
        split: config.get(split),
        "dataset_path": kind,
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {config[split]: files}},
        "fewshot_config": None,
        "num_fewshot": 0,
    }
    for key in ("tag", "group", "task_list"):
        config.pop(key, None)
    try:
        return ConfigurableTask(config=config)
    except Exception as error:  # datasets and the task's own code raise anything
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{data}: cannot be read as task {config['task']} ({type(error).__name__}: {line})"
        ) from None


def _data_files(data: Path, split: str) -> tuple[list[str], str]:
    for suffix, kind in FORMATS.items():
        found = sorted(str(file) for file in data.glob(f"{split}*.{suffix}"))
        if found:
            return found, kind
    raise ValueError(f"no data: expected {data}/{split}*.parquet, .jsonl or .json")


def evaluate(
    scorer: Scorer, tasks: Mapping[str, ConfigurableTask], limit: int | None = None
) -> list[TaskResult]:
    """Every task clean and noisy, MMLU's subjects as one, and their even mean.

    limit: questions of each task, for a first look. Raises ValueError for a task that has no
    accuracy, and when another evaluation writes the scorer's file.
    """
    with scorer.alone():
        views = [_accuracies(scorer, view, tasks, limit) for view in range(scorer.views)]
    results = []
    for metric in METRICS:
        pooled = [_pool(view, metric) for view in views]
        table = {task: np.stack([view[task] for view in pooled]) for task in pooled[0]}
        if metric == METRICS[0] and not table:
            raise ValueError(f"no task has the metric {metric!r}")
        results += [_result(task, metric, [one]) for task, one in table.items()]
        if len(table) > 1 and metric == METRICS[0]:
            results.append(_result("average", metric, list(table.values())))
    return results


def _accuracies(
    scorer: Scorer, view: int, tasks: Mapping[str, ConfigurableTask], limit: int | None
) -> dict[str, list[dict[str, Any]]]:
    """What the harness logs of every question of every task."""
    found = evaluator.evaluate(
        NoisyLM(scorer, view),
        {"tasks": dict(tasks), "groups": {}, "group_map": {}},
        limit=limit,
        bootstrap_iters=0,
        log_samples=True,
    )
    samples: dict[str, list[dict[str, Any]]] = found["samples"]
    return samples


def _pool(samples: Mapping[str, Sequence[Mapping[str, Any]]], metric: str) -> dict[str, Array]:
    """Whether each question was answered right, by task; MMLU's subjects one after another."""
    pooled: dict[str, list[float]] = {}
    for task, questions in samples.items():
        if questions and metric in questions[0]:
            name = "mmlu" if task.startswith("mmlu_") else task
            ordered = sorted(questions, key=lambda question: question["doc_id"])
            pooled.setdefault(name, []).extend(float(question[metric]) for question in ordered)
    return {task: np.array(values) for task, values in pooled.items()}


def _result(task: str, metric: str, views: Sequence[Array]) -> TaskResult:
    """Means over one task, or evenly over several; each view is [1 + draws, questions]."""
    even = np.full(len(views), 1 / len(views))

    def mean(arrays: Sequence[Array]) -> tuple[float, float]:
        parts = [(array, np.ones(array.shape[1])) for array in arrays]
        return stratified_mean(parts, even)

    def pairs(noisy: Array) -> Array:
        return noisy if len(noisy) == 1 else (noisy[0::2] + noisy[1::2]) / 2

    clean = mean([view[:1] for view in views])
    noisy = mean([pairs(view[1:]) for view in views])
    change = mean([pairs(view[1:]) - view[:1] for view in views])
    questions = sum(view.shape[1] for view in views)
    return TaskResult(task, metric, questions, *clean, *noisy, *change)
