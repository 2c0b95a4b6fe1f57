"""Predicting a published chip from its design parameters, with constants shared by all chips.

Six ways of building a crossbar cover the published silicon:

- `pulse width`: PCM and flash; inputs as pulse widths, oscillator converters on every column;
- `sampled RRAM macro`: bit-sliced weights, few rows at once, SAR converters;
- `fully parallel RRAM`: analog weights, all rows at once; sampled columns, or voltage-mode neurons;
- `ISAAC-like RRAM`: sliced weights in simulated studies, all rows at once, one conversion a bit;
- `charge domain`: SRAM bits, all rows at once, charges shared on a column, SAR converters;
- `digital`: SRAM bits and adder trees, no converter.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from hwmodels.chip_table import Chip
from hwmodels.components import adc, mac, scaling
from hwmodels.technology import Technology, load_technology
from hwmodels.tile import Tile, tile_area_mm2, tile_energy_j, tile_latency_s

QUANTITIES = ("energy_j", "latency_s", "tops_per_w", "area_mm2")


@dataclass(frozen=True)
class Constants:
    """Constants that all chips of a class share: published nominal values, fitted in validation."""

    count_energy_j: float = 0.109e-12
    """One count of an oscillator converter at 14 nm."""
    step_overhead_s: float = 2.5e-9
    """Latching and control after a phase of pulse-width inputs."""
    sar_energy_factor: float = 1.0
    """SAR converter over the best of the survey (published spread 0.18 to 5.8)."""
    rram_conductance_s: float = 10e-6
    """Mean conductance of an RRAM device, read at 0.2 V."""
    rram_step_s: float = 9e-9
    """One input step of an RRAM macro at 22 nm; other nodes by gate delay."""
    neuron_step_s: float = 100e-9
    """One step of a voltage-mode neuron at 32 nm (a pulse, an output bit, a start), other nodes by
    gate delay. Nominal: one sampled read of an RRAM crossbar in ISAAC and PUMA."""
    charge_cell_energy_j: float = 4e-15
    """One charge-domain SRAM bit, one input bit, at 65 nm and 0.8 V."""
    charge_adc_factor: float = 0.5
    """SAR converter that uses the column's own capacitors, over the best of the survey."""
    adder_activity: float = 0.5
    """Share of the adders of a digital macro that toggle in a cycle."""
    converter_area_m2: float = 1100e-12
    """Column converter: drawn for its capacitors and pitch, so about the same at every node."""
    periphery_area_exponent: float = 0.5
    """Drivers and column logic follow logic area to this power: high-voltage parts shrink less."""
    array_share_of_chip: float = 0.69
    """Energy of arrays and converters over a chip's (ISAAC: 22.6 mW x 2016 of 65.8 W)."""


PRIORS = {
    "count_energy_j": 0.7,
    "step_overhead_s": 0.7,
    "sar_energy_factor": 0.9,
    "rram_conductance_s": 0.7,
    "rram_step_s": 0.7,
    "neuron_step_s": 0.5,
    "charge_cell_energy_j": 0.7,
    "charge_adc_factor": 0.9,
    "adder_activity": 0.3,
    "converter_area_m2": 0.3,
    "periphery_area_exponent": 0.3,
    "array_share_of_chip": 0.2,
}
"""Standard deviation of ln(constant) before any chip is seen: the spread of published values."""

ISAAC_CONDUCTANCE_S = 0.3e-3 / 128**2 / (0.2**2 * 0.5)
"""0.3 mW a 128 x 128 crossbar (Shafiee et al., ISCA 2016), read at 0.2 V half of the time."""
ISAAC_DRIVE_J = 4e-3 / 1024 * 100e-9
"""4 mW for 8 x 128 one-bit drivers over 100 ns (same)."""

ISAAC_STEP_S = 100e-9
"""One read of a 128 x 128 crossbar (ISAAC, PUMA)."""
LADDER_ROWS = 8
"""Rows of bit cells that take turns on one C-2C ladder (Wang et al., JSSC 2023)."""
LADDER_DAC_F = 50e-15
"""Capacitance a bit of a converter from bits to an analog level (ZigZag-IMC)."""
ISAAC_ADC_FACTOR = 1.67e-12 / float(adc.survey_energy_j(8, 1.25e9, 32.0))
"""Their 8-bit converter at 32 nm: 2 mW at 1.2 GS/s (Kull et al., as used by ISAAC)."""

SYSTEM_DIGITAL_OP_J = (70e-12 + 1.1e-12 + 3 * 5e-12) * 0.139
"""One digital operation beside the analog chip at 14 nm: instruction 70 pJ, 16-bit multiply 1.1 pJ
and three words from 32 KB SRAM at 45 nm (Horowitz 2014), scaled with Stillmaker and Baas 2017."""
SYSTEM_ANALOG_PER_DIGITAL = 325.0
"""Analog over digital operations of the five-chip system (Ambrogio et al., Nature 2023)."""


def chip_class(chip: Chip) -> str:
    """Which of the six ways the chip is built."""
    if chip.digital:
        return "digital"
    if chip.device in ("pcm", "flash"):
        return "pulse width"
    if chip.device == "sram":
        return "charge domain"
    sliced = chip.weight_bits is not None
    if sliced and chip.kind == "measured":
        return "sampled RRAM macro"
    return "ISAAC-like RRAM" if sliced else "fully parallel RRAM"


def _converter(chip: Chip, technology: Technology, constants: Constants) -> Technology:
    """The technology with the kind of converter that the row names, if it is not its own."""
    kind = chip.adc_kind or str(technology.adc_kind)
    if kind == technology.adc_kind:
        return technology
    if kind == "sar":
        return dataclasses.replace(
            technology,
            adc_kind="sar",
            adc_unit_time_s=1e-10,
            adc_energy_factor=constants.sar_energy_factor,
        )
    if kind == "cco":
        unit = constants.count_energy_j * scaling.energy_factor(14.0, chip.node_nm)
        return dataclasses.replace(
            technology, adc_kind="cco", adc_unit_time_s=300e-12, adc_unit_energy_j=unit
        )
    # The survey's best at four bits is as good as a flash converter: 15 comparators.
    unit = constants.sar_energy_factor * adc.survey_energy_j(4, 1e9, chip.node_nm) / 15
    return dataclasses.replace(
        technology, adc_kind="flash", adc_unit_time_s=1e-9, adc_unit_energy_j=unit
    )


def _tile(
    chip: Chip,
    technology: Technology,
    constants: Constants,
    steps: int,
    mode: str,
    rows_at_once: int | None = None,
) -> Tile:
    return Tile(
        _converter(chip, technology, constants),
        chip.rows,
        chip.cols,
        dac_bits=steps,
        adc_bits=chip.adc_bits,
        columns_per_adc=chip.columns_per_adc,
        phases=chip.phases,
        input_mode=mode,
        rows_at_once=rows_at_once,
    )


def _rram_slot_s(chip: Chip, step_s: float) -> float:
    """A stated clock, a pulse-width step as HERMES has it, or the class's step."""
    return chip.slot_s or (1e-9 if chip.input_mode == "pwm" else step_s)


def _pulse_width(chip: Chip, constants: Constants) -> Tile:
    base = load_technology("pcm-14nm")
    logic = scaling.energy_factor(14.0, chip.node_nm)
    shrink = np.power(scaling.area_factor(14.0, chip.node_nm), constants.periphery_area_exponent)
    technology = dataclasses.replace(
        base,
        node_nm=chip.node_nm,
        input_slot_s=chip.slot_s or base.input_slot_s,
        adc_unit_energy_j=constants.count_energy_j * logic,
        driver_slot_energy_j=base.driver_slot_energy_j * logic,
        output_bit_energy_j=base.output_bit_energy_j * logic,
        step_overhead_s=constants.step_overhead_s,
        adc_unit_area_m2=constants.converter_area_m2 / 8,
        driver_area_m2=base.driver_area_m2 * shrink,
        output_area_m2=base.output_area_m2 * shrink,
    )
    return _tile(chip, technology, constants, chip.input_bits, chip.input_mode)


def neuron_reads(chip: Chip) -> list[tuple[int, int]]:
    """Magnitude bits and output bits of each read of a voltage-mode neuron.

    Two phases halve the pulses' exponent: the upper bits of an input are read first, to all output
    bits, the lower ones to as many bits fewer (Wan et al., Nature 608, 504, 2022, Fig. 12).
    """
    magnitude = max(chip.input_bits - 1, 1)
    parts = min(chip.phases, magnitude) if magnitude > 3 else 1
    bits = [magnitude // parts + (index < magnitude % parts) for index in range(parts)]
    before = [sum(bits[:index]) for index in range(parts)]
    return [(b, max(chip.adc_bits - seen, 1)) for b, seen in zip(bits, before, strict=True)]


def _neuron_latency_s(chip: Chip, constants: Constants, tile: Tile) -> float:
    """Latency of all reads of a chip with voltage-mode neurons."""
    step = constants.neuron_step_s * float(scaling.delay_factor(32.0, chip.node_nm))
    technology = dataclasses.replace(tile.technology, neuron_step_s=step)
    reads = [
        dataclasses.replace(tile, technology=technology, dac_bits=b, adc_bits=out, phases=1)
        for b, out in neuron_reads(chip)
    ]
    return sum(_total(tile_latency_s(read)) for read in reads)


def _rram(chip: Chip, constants: Constants) -> Tile:
    """RRAM with SAR converters: macro, fully parallel or ISAAC-like."""
    kind = chip_class(chip)
    macro = kind == "sampled RRAM macro"
    # Macros take an input in one step (to 2 bits) or two, and two bits of a weight a column;
    # ISAAC's inputs come bit by bit; analog weights lie in one column.
    steps = chip.input_bits
    if macro and chip.input_mode == "bit_serial":
        steps = min(math.ceil(chip.input_bits / 2), 2)
    per_column = chip.bits_per_column or 2
    columns = math.ceil(chip.weight_bits / per_column) if chip.weight_bits else 1
    delay = float(scaling.delay_factor(22.0, chip.node_nm))
    logic = float(scaling.energy_factor(22.0, chip.node_nm))
    shrink = np.power(scaling.area_factor(14.0, chip.node_nm), constants.periphery_area_exponent)
    isaac = kind == "ISAAC-like RRAM"
    technology = dataclasses.replace(
        load_technology("rram-22nm"),
        node_nm=chip.node_nm,
        devices_per_weight=columns if isaac else 2 * columns,
        columns_per_weight=columns,
        mean_conductance_s=ISAAC_CONDUCTANCE_S if isaac else constants.rram_conductance_s,
        cell_area_m2=2 * 53 * (chip.node_nm * 1e-9) ** 2,
        input_slot_s=_rram_slot_s(chip, ISAAC_STEP_S if isaac else constants.rram_step_s * delay),
        adc_energy_factor=ISAAC_ADC_FACTOR if isaac else constants.sar_energy_factor,
        adc_unit_time_s=1e-10,
        pipelined=1,
        step_overhead_s=0.0,
        driver_slot_energy_j=columns * ISAAC_DRIVE_J if isaac else 30e-15 * logic,
        driver_area_m2=120e-12 * shrink,
        output_area_m2=100e-12 * shrink,
        output_bit_energy_j=10e-15 * logic,
    )
    # A macro drives as many rows as its converter resolves exactly with one-bit inputs.
    exact = max(2**chip.adc_bits // (2**per_column - 1), 1)
    rows_at_once = min(exact, chip.rows) if macro else None
    return _tile(chip, technology, constants, steps, chip.input_mode, rows_at_once)


def _charge_domain(chip: Chip, constants: Constants) -> Tile:
    weight_bits = chip.weight_bits or 1
    volts = chip.supply_v or 0.8
    # Capacitors and wires shrink with the linear dimension, not with the gates.
    charge = chip.node_nm / 65 * (volts / 0.8) ** 2
    at_once = bool(chip.multibit_cell)
    ladder = chip.multibit_cell == "ladder"
    technology = dataclasses.replace(
        load_technology("sram-16nm"),
        node_nm=chip.node_nm,
        supply_v=volts,
        columns_per_weight=1 if at_once else weight_bits,
        devices_per_weight=weight_bits,
        input_slot_s=chip.slot_s or 1e-9,
        # A C-2C ladder has 3C a bit where a charge-domain cell has C, and a converter of its own
        # where a charge-domain column is its converter's capacitor.
        cell_switch_energy_j=(3 if ladder else 1)
        * constants.charge_cell_energy_j
        * charge
        * weight_bits,
        adc_energy_factor=1.0 if ladder else constants.charge_adc_factor,
        driver_slot_energy_j=LADDER_DAC_F * chip.input_bits * volts**2 if at_once else 10e-15,
        pipelined=1,
        step_overhead_s=0.0,
    )
    mode = "level" if at_once else chip.input_mode
    rows_at_once = max(chip.rows // LADDER_ROWS, 1) if ladder else None
    return _tile(chip, technology, constants, chip.input_bits, mode, rows_at_once)


def tile_of(chip: Chip, constants: Constants) -> Tile | None:
    """The chip as a tile of our models; None for an all-digital macro."""
    kind = chip_class(chip)
    if kind == "digital":
        return None
    if kind == "pulse width":
        return _pulse_width(chip, constants)
    return _charge_domain(chip, constants) if chip.device == "sram" else _rram(chip, constants)


def _total(parts: dict[str, np.ndarray]) -> float:
    return float(sum(parts.values()))


def _energy_j(chip: Chip, constants: Constants, tile: Tile | None) -> float:
    """Energy of one product of the whole array, arrays and converters only."""
    if tile is not None:
        return _total(tile_energy_j(tile))
    tree = mac.adder_tree_energy_j(
        chip.rows,
        chip.weight_bits or 1,
        chip.supply_v or 0.8,
        chip.node_nm,
        constants.adder_activity,
    )
    # One-bit products: a gate a weight bit, a quarter of which rise.
    volts = chip.supply_v or 0.8
    gates = mac.NAND_CAPACITANCE_28NM_F * volts**2 * scaling.energy_factor(28.0, chip.node_nm)
    products = chip.rows * (chip.weight_bits or 1) * float(gates) * 0.25
    return (float(tree) + products) * chip.cols * chip.input_bits


def _latency_s(chip: Chip, constants: Constants, tile: Tile | None) -> float:
    """Latency of one access: of all rows, or of those that a macro drives together."""
    if tile is None:
        tree = mac.adder_tree_delay_s(chip.rows, chip.weight_bits or 1, chip.node_nm)
        return float(tree) * chip.input_bits
    if chip.neuron:
        return _neuron_latency_s(chip, constants, tile)
    return _total(tile_latency_s(dataclasses.replace(tile, rows_at_once=None)))


def _efficiency(chip: Chip, constants: Constants, energy_j: float) -> float:
    """TOPS/W at the level that the row describes; two operations a weight."""
    per_operation = energy_j / (2 * chip.rows * chip.cols)
    if chip.level != "tile":
        per_operation /= constants.array_share_of_chip
    if chip.level == "system":
        per_operation += SYSTEM_DIGITAL_OP_J / SYSTEM_ANALOG_PER_DIGITAL
    return 1e-12 / per_operation


def _area_mm2(tile: Tile, constants: Constants) -> float:
    """Area of a tile with a pitch-matched converter on every column."""
    unit = constants.converter_area_m2 / float(np.asarray(tile.adc_bits))
    technology = dataclasses.replace(tile.technology, adc_kind="cco", adc_unit_area_m2=unit)
    return _total(tile_area_mm2(dataclasses.replace(tile, technology=technology)))


def predict(chip: Chip, constants: Constants) -> dict[str, float]:
    """Predicted quantities of a chip from its design parameters (SI; area in mm2).

    A quantity that the models cannot express is absent; `why_not` says why.
    """
    tile = tile_of(chip, constants)
    array_energy = _energy_j(chip, constants, tile)
    whole = constants.array_share_of_chip if chip.level == "chip" and chip.device == "flash" else 1
    values = {
        "energy_j": array_energy / whole,
        "latency_s": _latency_s(chip, constants, tile),
        "tops_per_w": _efficiency(chip, constants, array_energy),
    }
    kind = chip_class(chip)
    if chip.level == "tile" and tile is not None and kind in ("pulse width", "fully parallel RRAM"):
        values["area_mm2"] = _area_mm2(tile, constants)
    return {name: value for name, value in values.items() if not why_not(chip, name)}


def why_not(chip: Chip, quantity: str) -> str:
    """Why a quantity of this chip is not expressible; empty when it is."""
    kind = chip_class(chip)
    if quantity == "latency_s" and kind == "charge domain" and chip.slot_s is None:
        return "no clock in the row: steps of charge-domain macros span 6 to 1750 ns"
    if quantity == "latency_s" and chip.level == "system":
        return "latency of a system needs its network"
    if quantity == "energy_j" and chip.level == "system":
        return "energy of a system is not that of an MVM"
    if quantity != "area_mm2":
        return ""
    if chip.level != "tile":
        return (
            "area of a chip needs its memory, network and interfaces, which the row does not give"
        )
    if kind == "charge domain":
        return "no cell footprint in the row: published SRAM cells differ fivefold in F2"
    if kind not in ("pulse width", "fully parallel RRAM"):
        return "no converter sharing or macro outline in the row"
    return ""
