"""A published chip as a tile of our models, with constants shared by all chips of its class.

Seven ways of building a crossbar cover the published silicon:

- `pulse width`: PCM and flash; inputs as pulse widths, oscillator converters on every column, or
  ramps that end in pulses, which other tiles take as they are;
- `sampled macro`: RRAM, PCM or flash cells of a few bits, few rows at once, few output bits;
- `fully parallel RRAM`: analog weights, all rows at once; sampled columns, or voltage-mode neurons;
- `ISAAC-like RRAM`: sliced weights in simulated studies, all rows at once, one conversion a bit;
- `charge domain`: SRAM bits, each with a capacitor, all rows at once, charges shared on a column;
- `bit-line SRAM`: SRAM bits without capacitors that discharge a bit line, few rows at once;
- `digital`: SRAM bits and adder trees, no converter.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwmodels.chip_table import Chip
from hwmodels.chip_text import sampled
from hwmodels.components import adc, scaling
from hwmodels.technology import Technology, load_technology
from hwmodels.tile import Tile, tile_latency_s


@dataclass(frozen=True)
class Constants:
    """Constants that all chips of a class share: published nominal values, fitted in validation."""

    count_energy_j: float = 0.109e-12
    """One count of an oscillator converter at 14 nm."""
    step_overhead_s: float = 2.5e-9
    """Latching and control after a phase of pulse-width inputs."""
    sar_energy_factor: float = 1.0
    """Converter of an NVM macro over the column converter of `components.adc`."""
    neuron_energy_factor: float = 1.0
    """Voltage-mode neuron of a fully parallel RRAM array, over the column converter."""
    rram_conductance_s: float = 10e-6
    """Mean conductance of an analog RRAM device, read at 0.2 V."""
    macro_conductance_s: float = 10e-6
    """The same of a cell in a sampled macro, whose clamp draws the current from the supply."""
    rram_step_s: float = 9e-9
    """One input step of an RRAM macro at 22 nm; other nodes by gate delay."""
    neuron_step_s: float = 100e-9
    """One step of a voltage-mode neuron at 32 nm (a pulse, an output bit, a start), other nodes by
    gate delay. Nominal: one sampled read of an RRAM crossbar in ISAAC and PUMA."""
    charge_cell_energy_j: float = 4e-15
    """One charge-domain SRAM bit, one input bit, at 65 nm and 0.8 V."""
    sram_adc_factor: float = 0.5
    """Converter that samples on an SRAM column itself, over the column converter."""
    bit_line_access_s: float = 5e-9
    """One access of bit-line SRAM, conversion included, where the row states no clock."""
    bit_line_energy_j: float = 4e-15
    """One SRAM bit without a capacitor, one input bit: its share of bit and word line, at 65 nm and
    0.8 V. Nominal: that of a charge-domain bit."""
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
    "neuron_energy_factor": 0.9,
    "rram_conductance_s": 0.7,
    "macro_conductance_s": 0.7,
    "rram_step_s": 0.7,
    "neuron_step_s": 0.5,
    "charge_cell_energy_j": 0.7,
    "sram_adc_factor": 0.9,
    "bit_line_access_s": 0.7,
    "bit_line_energy_j": 0.7,
    "adder_activity": 0.3,
    "converter_area_m2": 0.3,
    "periphery_area_exponent": 0.3,
    "array_share_of_chip": 0.2,
}
"""Standard deviation of ln(constant) before any chip is seen: the spread of published values."""

TECHNOLOGY_OF = {"pcm": "pcm-14nm", "flash": "flash-40nm", "rram": "rram-22nm"}
"""Where the mean conductance of a device stands."""
READ_V = 0.2
"""Voltage on an RRAM device while it is read."""
IO_SUPPLY_V = 1.8
"""Read circuits of fully parallel RRAM arrays are made of the devices that program them."""
BIT_LINE_ROWS = 64
"""Rows that bit-line SRAM reads at once where the row does not say: a longer bit line is not
discharged linearly (published macros: 4 to 192, mostly 16 to 64)."""
ISAAC_CONDUCTANCE_S = 0.3e-3 / 128**2 / (READ_V**2 * 0.5)
"""0.3 mW a 128 x 128 crossbar (Shafiee et al., ISCA 2016), read at 0.2 V half of the time."""
ISAAC_DRIVE_J = 4e-3 / 1024 * 100e-9
"""4 mW for 8 x 128 one-bit drivers over 100 ns (same)."""
ISAAC_STEP_S = 100e-9
"""One read of a 128 x 128 crossbar (ISAAC, PUMA)."""
ISAAC_ADC_FACTOR = 1.67e-12 / float(adc.column_energy_j(8, 1.25e9, 32.0, 0.8))
"""Their 8-bit converter at 32 nm: 2 mW at 1.2 GS/s (Kull et al., as used by ISAAC)."""
LADDER_ROWS = 8
"""Rows of bit cells that take turns on one C-2C ladder (Wang et al., JSSC 2023)."""
LADDER_DAC_F = 50e-15
"""Capacitance a bit of a converter from bits to an analog level (ZigZag-IMC)."""


def chip_class(chip: Chip) -> str:
    """Which of the seven ways the chip is built."""
    if chip.digital:
        return "digital"
    if chip.device == "sram":
        return "charge domain" if chip.cell else "bit-line SRAM"
    if not sampled(chip.device, chip.weight_bits, chip.adc_bits):
        return "fully parallel RRAM" if chip.device == "rram" else "pulse width"
    return "ISAAC-like RRAM" if chip.kind.startswith("simulated") else "sampled macro"


def supply_v(chip: Chip) -> float:
    """The chip's supply, or what is usual at its node (V)."""
    return chip.supply_v or float(scaling.nominal_supply_v(chip.node_nm))


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
    comparator = adc.column_energy_j(1, 1e6, chip.node_nm, technology.supply_v)
    unit = constants.sar_energy_factor * comparator
    if kind == "ramp":  # one comparator that decides at every count
        return dataclasses.replace(
            technology, adc_kind="cco", adc_unit_time_s=300e-12, adc_unit_energy_j=unit
        )
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
    # What a chip was measured to draw has its wires in it and its converters' effective bits; so
    # have the constants that are fitted to it.
    technology = dataclasses.replace(
        technology, full_conductance_s=0.0, adc_pitch_m=0.0, adc_floor_factor=0.0
    )
    return Tile(
        _converter(chip, technology, constants),
        chip.rows,
        chip.cols,
        dac_bits=steps + (chip.unsigned and mode == "pwm"),
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


def landing_pad_energy_j(chip: Chip, constants: Constants) -> dict[str, float]:
    """Energy of reading the pulses of one product where they leave the chip, by component (J).

    A counter runs while a pulse lasts, as in an oscillator converter, and its result is scaled and
    added: tiles do neither where pulses go from tile to tile as they are (Ambrogio et al., Nature
    620, 768, 2023, Fig. 1d).
    """
    logic = chip.cols * float(scaling.energy_factor(14.0, chip.node_nm))
    bit = float(load_technology("pcm-14nm").output_bit_energy_j)
    counts = 2**chip.adc_bits * constants.count_energy_j
    return {"adc": logic * counts, "digital": logic * chip.adc_bits * bit}


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


def neuron_latency_s(chip: Chip, constants: Constants, tile: Tile) -> Any:
    """Latency of all reads of a chip with voltage-mode neurons (s), of each set of constants."""
    step = constants.neuron_step_s * float(scaling.delay_factor(32.0, chip.node_nm))
    technology = dataclasses.replace(tile.technology, neuron_step_s=step)
    reads = [
        dataclasses.replace(tile, technology=technology, dac_bits=b, adc_bits=out, phases=1)
        for b, out in neuron_reads(chip)
    ]
    total: Any = sum(sum(tile_latency_s(read).values()) for read in reads)
    return total[()]


def _nvm_converter(chip: Chip, constants: Constants) -> float:
    """Energy of a converter over the column converter."""
    kind = chip_class(chip)
    if kind == "ISAAC-like RRAM":
        return ISAAC_ADC_FACTOR
    if not chip.neuron:
        return constants.sar_energy_factor
    # A voltage-mode neuron decides bit after bit, however few; comparators would be cheaper.
    bits = chip.adc_bits
    serial = max(bits / ((2**bits - 1) * adc.FLASH_SHARE), 1.0)
    return constants.neuron_energy_factor * serial


def _nvm(chip: Chip, constants: Constants) -> Tile:
    """Sampled macro, fully parallel RRAM or ISAAC-like RRAM."""
    kind = chip_class(chip)
    macro, isaac = kind == "sampled macro", kind == "ISAAC-like RRAM"
    # Macros take an input in one step (to 2 bits) or two, and two bits of a weight a column;
    # ISAAC's inputs come bit by bit; analog weights lie in one column.
    steps = max(chip.input_bits - 1, 1) if chip.neuron else chip.input_bits
    if macro and chip.input_mode == "stepped":
        steps = min(math.ceil(chip.input_bits / 2), 2)
    per_column = chip.bits_per_column or 2
    columns = math.ceil(chip.weight_bits / per_column) if chip.weight_bits else 1
    delay = float(scaling.delay_factor(22.0, chip.node_nm))
    # An access of a macro takes time with the square root of gate delay: 14.8 ns at 65 nm (Chen et
    # al., ISSCC 2018), 9.8 ns at 22 nm (Xue et al., ISSCC 2020, same group, binary inputs). What it
    # draws follows its wires: with the delay, so that larger nodes have the larger currents.
    slower = math.sqrt(delay) if macro else delay
    logic = float(scaling.energy_factor(22.0, chip.node_nm))
    shrink = np.power(scaling.area_factor(14.0, chip.node_nm), constants.periphery_area_exponent)
    volts = chip.supply_v or (supply_v(chip) if macro else IO_SUPPLY_V)
    conductance = constants.rram_conductance_s
    if macro:
        own = load_technology(TECHNOLOGY_OF[chip.device]).mean_conductance_s
        relative = float(own / load_technology("rram-22nm").mean_conductance_s)
        conductance = constants.macro_conductance_s * relative * slower * volts / READ_V
    technology = dataclasses.replace(
        load_technology("rram-22nm"),
        node_nm=chip.node_nm,
        supply_v=0.8 if isaac else volts,
        devices_per_weight=columns if isaac else 2 * columns,
        columns_per_weight=columns,
        mean_conductance_s=ISAAC_CONDUCTANCE_S if isaac else conductance,
        cell_area_m2=2 * 53 * (chip.node_nm * 1e-9) ** 2,
        input_slot_s=_rram_slot_s(chip, ISAAC_STEP_S if isaac else constants.rram_step_s * slower),
        adc_energy_factor=_nvm_converter(chip, constants),
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
    told = chip.rows_at_once or (min(exact, chip.rows) if macro else None)
    mode = chip.input_mode
    if mode == "stepped":
        mode = "pulse_train" if kind == "fully parallel RRAM" else "bit_serial"
    return _tile(chip, technology, constants, steps, mode, told)


def _rows_read(chip: Chip) -> int | None:
    """Rows that an SRAM macro reads together; None for all."""
    if chip.rows_at_once or chip.cell == "ladder":
        return chip.rows_at_once or max(chip.rows // LADDER_ROWS, 1)
    linear = bool(chip.cell) or chip.adc_bits == 1  # a sign needs no linear bit line
    return None if linear else min(chip.rows, BIT_LINE_ROWS)


def _bits_resolved(chip: Chip) -> int:
    """Bits that an SRAM column's converter works for: a sum of few rows has no more levels.

    Further bits of its output come from adding columns or steps up.
    """
    rows, weight_bits = _rows_read(chip) or chip.rows, chip.weight_bits or 1
    serial = chip.input_mode == "bit_serial"  # one bit of input and weight a conversion
    most = 1 if serial else (2**chip.input_bits - 1) * (2**weight_bits - 1)
    return min(chip.adc_bits, max((rows * most).bit_length(), 1))


def _stand_alone_factor(bits: int, node_nm: float, volts: float) -> float:
    """The survey's best converter over a column's."""
    best = adc.survey_energy_j(max(bits, 4), 1e8, node_nm)
    return float(best / adc.column_energy_j(bits, 1e8, node_nm, volts))


def _sram(chip: Chip, constants: Constants) -> Tile:
    """SRAM whose bits share charge or discharge a bit line."""
    weight_bits, volts = chip.weight_bits or 1, supply_v(chip)
    charge = chip_class(chip) == "charge domain"
    # Capacitors and wires shrink with the linear dimension, not with the gates.
    bit = constants.charge_cell_energy_j if charge else constants.bit_line_energy_j
    bit = bit * (chip.node_nm / 65 * (volts / 0.8) ** 2)
    at_once, ladder = chip.input_mode != "bit_serial", chip.cell == "ladder"
    # An input at once is a level (one charge) or pulses (up to one a bit), and rows seldom say
    # which: the geometric mean. A ladder and a large cell switch once. A C-2C ladder has 3C a bit
    # where a charge-domain cell has C, and a converter of its own where a charge-domain column is
    # its converter's capacitor.
    once = ladder or chip.cell == "large" or not at_once
    switched = 1.0 if once else math.sqrt(chip.input_bits)
    factor = constants.sram_adc_factor
    if ladder:
        factor = _stand_alone_factor(chip.adc_bits, chip.node_nm, volts)
    rows_read = _rows_read(chip)
    chip = dataclasses.replace(chip, adc_bits=_bits_resolved(chip))
    technology = dataclasses.replace(
        load_technology("sram-16nm"),
        node_nm=chip.node_nm,
        supply_v=volts,
        columns_per_weight=1 if at_once else weight_bits,
        devices_per_weight=weight_bits,
        input_slot_s=chip.slot_s or constants.bit_line_access_s,
        cell_switch_energy_j=(3 if ladder else 1) * bit * weight_bits * switched,
        adc_energy_factor=factor,
        driver_slot_energy_j=LADDER_DAC_F * chip.input_bits * volts**2 if ladder else 10e-15,
        pipelined=1,
        step_overhead_s=0.0,
    )
    mode = "level" if at_once else chip.input_mode
    return _tile(chip, technology, constants, chip.input_bits, mode, rows_read)


def tile_of(chip: Chip, constants: Constants) -> Tile | None:
    """The chip as a tile of our models; None for an all-digital macro."""
    kind = chip_class(chip)
    if kind == "digital":
        return None
    if kind == "pulse width":
        return _pulse_width(chip, constants)
    return _sram(chip, constants) if chip.device == "sram" else _nvm(chip, constants)
