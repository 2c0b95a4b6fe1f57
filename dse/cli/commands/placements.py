"""`dse placements`: which choice of digital experts loses least at equal area, energy and speed."""

from typing import TYPE_CHECKING

import typer

from dse import units
from dse.cli.commands import complete
from dse.cli.commands.options import AGE, JSON, MAGNITUDE, MODEL, SHARE

if TYPE_CHECKING:
    import pandas


def placements(
    model: str = MODEL,
    budget_area: str = typer.Option("200mm2", help="Area of the machine, such as 200mm2."),
    share: list[float] = typer.Option(
        [0.125, 0.25, 0.5],
        *SHARE,
        help="Share of digital experts whose cost is the budget; repeatable.",
    ),
    noise_model: str = typer.Option(
        "pcm", help="Noise of the cells: pcm or rram.", autocompletion=complete.noise_models
    ),
    age: str = AGE,
    magnitude: float = MAGNITUDE,
    concurrency: int = typer.Option(32, help="Sequences served at the same time."),
    tokens: int = typer.Option(8192, help="Tokens that each loss is measured on, at least 1536."),
    seeds: int = typer.Option(16, help="Noise seeds, an even number from 8."),
    as_json: bool = JSON,
) -> None:
    """Compare ways of choosing the digital experts.

    At equal area, energy and throughput.
    """
    from dse.cli.console import print_json, records, say
    from dse.experiments.equal_cost import compare_placements
    from dse.search.settings import Settings
    from hwmodels.nonideality import Noise

    age_s, area = units.age(age), units.parse(budget_area, "area")
    noise = Noise(noise_model=noise_model, magnitude=magnitude, time_s=age_s or None)
    settings = Settings(
        model=model,
        budget_area_mm2=area,
        concurrency=concurrency,
        tokens=tokens,
        age_s=age_s,
        magnitude=magnitude,
    )

    def tell(text: str) -> None:
        if not as_json:
            typer.echo(text, err=True)

    found = compare_placements(settings, noise, share, seeds=seeds, progress=tell)
    machine = f"{found.machine.name}, {found.machine.area_mm2:.4g} mm2"
    if as_json:
        print_json(
            {
                "model": model,
                "machine": machine,
                "noise_model": noise_model,
                "age_s": age_s,
                "magnitude": magnitude,
                "seeds": seeds,
                "accuracy_source": found.source,
                "verdicts": list(found.sentences),
                "placements": records(found.table),
            }
        )
        return
    _print(
        found.table,
        f"{model} on {machine}, {noise_model} noise x {magnitude:g}, {units.age_text(age_s)}",
    )
    for sentence in found.sentences:
        say(sentence)
    say(f"Loss is of the {found.source}, {seeds} noise draws that chose nothing.")


def _print(table: "pandas.DataFrame", title: str) -> None:
    from dse.cli.console import print_table, si

    rows = []
    for _, row in table.iterrows():
        gaps = [
            f"{1e3 * row[f'loss_against_{scope}_nats']:+.2f} ± "
            f"{1e3 * row[f'loss_against_{scope}_stderr']:.2f}"
            for scope in ("global", "per_layer")
        ]
        rows.append(
            (
                f"{100 * row['share']:g} %",
                f"{row['score']}, {row['scope']}".replace("_", " "),
                f"{100 * row['digital_expert_fraction']:.1f} %",
                si(row["energy_j_per_token"], "J"),
                si(row["throughput_tokens_per_s"], ""),
                f"{1e3 * row['delta_loss_nats']:.2f} ± {1e3 * row['delta_loss_stderr']:.2f}",
                *gaps,
            )
        )
    headers = ("cost of", "digital by", "digital", "J/token", "tok/s", "loss + mnat",
               "vs norm global", "vs norm layer")  # fmt: skip
    print_table(headers, rows, title=title, left=2)
