"""`dse tile`: the data sheet of one tile."""

import typer

from dse.cli.commands import complete
from dse.cli.commands.options import JSON, OF_ADC, OF_DAC


def tile(
    technology: str = typer.Option(
        "pcm-14nm", help="Cell technology.", autocompletion=complete.technologies
    ),
    rows: int = typer.Option(256, "--tile-rows", "--rows", help="Inputs."),
    cols: int = typer.Option(256, "--tile-cols", "--cols", help="Weight columns."),
    tiers: int = typer.Option(1, help="Layers of cells."),
    adc_bits: int = typer.Option(8, help=OF_ADC),
    dac_bits: int = typer.Option(8, help=OF_DAC),
    columns_per_adc: int = typer.Option(1, help="Columns that share a converter."),
    as_json: bool = JSON,
) -> None:
    """Energy, latency and area of one tile, each with its parts."""
    from dse.cli.console import print_json
    from dse.cli.tile_sheet import print_tile, tile_document

    document = tile_document(technology, rows, cols, tiers, adc_bits, dac_bits, columns_per_adc)
    if as_json:
        print_json(document)
    else:
        print_tile(document)
