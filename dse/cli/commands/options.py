"""Options that several commands take, each described once."""

import typer

from dse import units
from dse.cli.commands import complete

MOST_JOBS = 256  # processes of one machine

A_MODEL = "A name of `dse models`, or a config.json."
OF_DAC, OF_ADC = "Bits of the inputs.", "Bits of the output converters."
OF_MAGNITUDE = "Multiplies the programming noise."
OF_SHARE = "Share of digital experts."
OF_MAX_LOSS = "Most that a recommended design may lose, such as 1point or 0.03nats."
OF_PREFER = "What is recommended among those: energy, throughput, cost or area."
SHARE = ("--digital-experts", "--share")

JSON = typer.Option(False, "--json", help="Print one JSON document.")
RUN = typer.Argument(help="Run folder.")
MODEL = typer.Option("deepseekmoe", help=A_MODEL, autocompletion=complete.models)
MODEL_OR_CHECKPOINT = typer.Option(
    "", help=f"{A_MODEL}  [default: deepseekmoe]", autocompletion=complete.models
)
ANALOG_MODULE = typer.Option(
    [], help="Dense part that is analog too: router, attention, ...; repeatable."
)
NOISE_MODEL = typer.Option(
    "pcm", help="Noise of the cells: pcm, hermes, rram, ...", autocompletion=complete.noise_models
)
AGE = typer.Option("1day", help="From programming to use: 1h, 1day, 1month, 1year, ...; or fresh.")
MAGNITUDE = typer.Option(1.0, min=0.0, help=OF_MAGNITUDE)
MAX_MEMORY = typer.Option("", help="Memory with a checkpoint, such as 8GiB.")
STORAGE = typer.Option(
    "",
    envvar="DSE_STORAGE",
    help="Database that machines share: postgresql://user:password@host/db, mysql://..., "
    "or grpc://host:port of a dse storage-proxy.",
)

NO_STORAGE = "add --storage postgresql://user:password@host/db, or set DSE_STORAGE"


def read_memory(text: str) -> int | None:
    """Bytes of --max-memory, none without it."""
    return int(units.parse(text, "memory size")) if text else None


def read_effort(timeout: str, jobs: int) -> float | None:
    """Seconds of --timeout, none without it; --jobs is checked."""
    if not 1 <= jobs <= MOST_JOBS:
        raise ValueError(f"jobs is {jobs}: from 1 to {MOST_JOBS}")
    return units.parse(timeout, "time") if timeout else None
