"""A published chip as a tile of our models, with constants shared by all chips of its class.

A class says how a macro is built, whatever its device:

- `pulse width`: analog levels in non-volatile cells; inputs as pulse widths, oscillator converters
  on every column, or ramps that end in pulses, which other tiles take as they are;
- `integrating neuron`: analog levels; signed pulses, sampled and integrated, then counted down;
- `sampled analog`: analog levels, all rows at once, converters or comparators that sample;
- `sensed macro`: bits in non-volatile cells, few rows at once, few output bits;
- `sliced study`: bits in non-volatile cells in simulated studies after ISAAC, all rows at once, one
  conversion a bit;
- `charge domain`: bits of SRAM or gain cells, each with a capacitor, charges shared on a column;
- `bit-line discharge`: the same without capacitors, discharging a bit line, few rows at once;
- `bit-line current`: large SRAM cells that drive a current into the column while it is read;
- `digital`: bits and adder trees, no converter.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwmodels.chip_table import Chip
from hwmodels.components import adc, scaling
from hwmodels.technology import Technology, load_technology
from hwmodels.tile import Tile, tile_latency_s

CLASSES = (
    "pulse width",
    "integrating neuron",
    "sampled analog",
    "sensed macro",
    "sliced study",
    "charge domain",
    "bit-line discharge",
    "bit-line current",
    "digital",
)


@dataclass(frozen=True)
class Constants:
    """Constants that all chips of a class share: published nominal values, fitted in validation."""

    count_energy_j: float = 0.109e-12
    """One count of an oscillator converter at 14 nm."""
    step_overhead_s: float = 2.5e-9
    """Latching and control after a phase of pulse-width inputs."""
    sar_energy_factor: float = 1.0
    """Converter of a non-volatile macro over the column converter of `components.adc`."""
    neuron_energy_factor: float = 1.0
    """Voltage-mode neuron of an RRAM array, over the column converter."""
    rram_conductance_s: float = 10e-6
    """Mean conductance of an analog RRAM device, read at 0.2 V."""
    macro_conductance_s: float = 10e-6
    """The same of a cell in a sensed macro, whose clamp draws the current from the supply."""
    rram_step_s: float = 9e-9
    """One input step of a sampled analog RRAM array at 22 nm; other nodes by gate delay."""
    macro_step_s: float = 2.8e-9
    """One input bit of a sensed macro at 22 nm. Nominal: 9.8, 13.1 and 18.3 ns for 1, 2 and 4 bits
    (Xue et al., ISSCC 2020)."""
    macro_overhead_s: float = 7e-9
    """Its word line, sensing and latching beside the input bits (same)."""
    neuron_step_s: float = 100e-9
    """One step of a voltage-mode neuron at 32 nm (a pulse, an output bit, a start), other nodes by
    gate delay. Nominal: one sampled read of an RRAM crossbar in ISAAC and PUMA."""
    charge_cell_energy_j: float = 4e-15
    """One charge-domain bit, one input bit, at 65 nm and 0.8 V."""
    charge_row_s: float = 0.2e-9
    """Settling of a charge-domain column for each row that it sums, at 28 nm and 0.8 V. Nominal:
    700 ns for 2304 rows of 65 nm at 1.2 V (Jia et al., JSSC 2020)."""
    sram_adc_factor: float = 0.5
    """Converter that samples on a column of capacitors, over the column converter."""
    bit_line_access_s: float = 5e-9
    """One access of bit-line SRAM with one-bit inputs, conversion included, at 28 nm and 0.8 V."""
    bit_line_energy_j: float = 4e-15
    """One bit without a capacitor, one input bit: its share of bit and word line, at 65 nm and
    0.8 V. Nominal: that of a charge-domain bit."""
    bit_line_adc_factor: float = 0.5
    """Converter of a bit line that discharges, over the column converter."""
    current_cell_energy_j: float = 4e-15
    """One bit of a cell that drives a current while it is read (same, and same nominal value)."""
    adder_activity: float = 0.5
    """Share of the adders of a digital macro that toggle in a cycle."""
    adder_scaling_exponent: float = 1.0
    """Capacitance of a digital macro's gates follows gate and wire pitch to this power."""
    digital_delay_factor: float = 1.0
    """Cycle of a digital macro over the delay of its adder tree: access, registers, margin."""
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
    "macro_step_s": 0.7,
    "macro_overhead_s": 0.7,
    "neuron_step_s": 0.5,
    "charge_cell_energy_j": 0.7,
    "charge_row_s": 0.7,
    "sram_adc_factor": 0.9,
    "bit_line_access_s": 0.7,
    "bit_line_energy_j": 0.7,
    "bit_line_adc_factor": 0.9,
    "current_cell_energy_j": 0.7,
    "adder_activity": 0.3,
    "adder_scaling_exponent": 0.5,
    "digital_delay_factor": 0.5,
    "converter_area_m2": 0.3,
    "periphery_area_exponent": 0.3,
    "array_share_of_chip": 0.2,
}
"""Standard deviation of ln(constant) before any chip is seen: the spread of published values."""

TECHNOLOGY_OF = {"pcm": "pcm-14nm", "flash": "flash-40nm"}
"""Where the mean conductance of a device other than RRAM stands."""
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
"""One read of a 128 x 128 crossbar (ISAAC, PUMA), where a study states none."""
ISAAC_ADC_FACTOR = 1.67e-12 / float(adc.column_energy_j(8, 1.25e9, 32.0, 0.8))
"""Their 8-bit converter at 32 nm: 2 mW at 1.2 GS/s (Kull et al., as used by ISAAC)."""
LADDER_ROWS = 8
"""Rows of bit cells that take turns on one C-2C ladder (Wang et al., JSSC 2023)."""
LADDER_DAC_F = 50e-15
"""Capacitance a bit of a converter from bits to an analog level (ZigZag-IMC)."""


def chip_class(chip: Chip) -> str:
    """How the chip is built: one of CLASSES, from storage, sums and read-out."""
    if chip.column_sum == "adders":
        return "digital"
    if chip.device in ("sram", "edram"):
        kinds = {"discharge": "bit-line discharge", "current": "bit-line current"}
        return kinds.get(chip.column_sum, "charge domain")
    if chip.weight_storage == "bit_sliced":
        return "sliced study" if chip.kind == "simulation" else "sensed macro"
    if chip.readout == "integrating_neuron":
        return "integrating neuron"
    timed = chip.readout in ("oscillator", "ramp", "ramp_to_pulses")
    if chip.input_mode == "pulse_width" or (timed and not chip.input_mode):
        return "pulse width"
    return "sampled analog"


def supply_v(chip: Chip) -> float:
    """The chip's supply, or what is usual at its node (V)."""
    return chip.supply_v or float(scaling.nominal_supply_v(chip.node_nm))


def weight_bits(chip: Chip) -> int:
    """Whole bits of a weight; 1 where none are stated."""
    return math.ceil(chip.weight_bits or 1)


def output_bits(chip: Chip) -> int:
    """Whole bits of the read-out; 1 where none are stated."""
    return math.ceil(chip.output_bits or 1)


def _converter(chip: Chip, technology: Technology, constants: Constants) -> Technology:
    """The technology with the kind of converter that the row names, if it is not its own."""
    kinds = {"ramp_to_pulses": "ramp", "oscillator": "cco", "sense_amplifier": "flash"}
    kinds["repeated_sense"] = "ramp"
    kind = kinds.get(chip.readout, chip.readout)
    if kind not in ("sar", "cco", "ramp", "flash") or kind == technology.adc_kind:
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
        chip.columns,
        dac_bits=steps,
        adc_bits=output_bits(chip),
        columns_per_adc=min(chip.columns_per_converter, chip.columns),
        phases=chip.phases,
        input_mode=mode,
        rows_at_once=rows_at_once,
    )


def _pulse_width(chip: Chip, constants: Constants) -> Tile:
    base = load_technology("pcm-14nm")
    logic = scaling.energy_factor(14.0, chip.node_nm)
    shrink = np.power(scaling.area_factor(14.0, chip.node_nm), constants.periphery_area_exponent)
    technology = dataclasses.replace(
        base,
        node_nm=chip.node_nm,
        input_slot_s=1 / chip.clock_hz if chip.clock_hz else base.input_slot_s,
        adc_unit_energy_j=constants.count_energy_j * logic,
        driver_slot_energy_j=base.driver_slot_energy_j * logic,
        output_bit_energy_j=base.output_bit_energy_j * logic,
        step_overhead_s=constants.step_overhead_s,
        adc_unit_area_m2=constants.converter_area_m2 / 8,
        driver_area_m2=base.driver_area_m2 * shrink,
        output_area_m2=base.output_area_m2 * shrink,
    )
    steps = math.ceil(chip.input_bits) + (chip.input_sign == "unsigned")
    mode = {"bit_serial": "bit_serial", "pulse_train": "pulse_train"}.get(chip.input_mode, "pwm")
    return _tile(chip, technology, constants, steps, mode)


def landing_pad_energy_j(chip: Chip, constants: Constants) -> dict[str, float]:
    """Energy of reading the pulses of one product where they leave the chip, by component (J).

    A counter runs while a pulse lasts, as in an oscillator converter, and its result is scaled and
    added: tiles do neither where pulses go from tile to tile as they are (Ambrogio et al., Nature
    620, 768, 2023, Fig. 1d).
    """
    logic = chip.columns * float(scaling.energy_factor(14.0, chip.node_nm))
    bit = float(load_technology("pcm-14nm").output_bit_energy_j)
    counts = 2 ** output_bits(chip) * constants.count_energy_j
    return {"adc": logic * counts, "digital": logic * output_bits(chip) * bit}


def neuron_reads(chip: Chip) -> list[tuple[int, int]]:
    """Magnitude bits and output bits of each read of a voltage-mode neuron.

    Two phases halve the pulses' exponent: the upper bits of an input are read first, to all output
    bits, the lower ones to as many bits fewer (Wan et al., Nature 608, 504, 2022, Fig. 12).
    """
    magnitude = max(math.ceil(chip.input_bits) - 1, 1)
    parts = min(chip.phases, magnitude) if magnitude > 3 else 1
    bits = [magnitude // parts + (index < magnitude % parts) for index in range(parts)]
    before = [sum(bits[:index]) for index in range(parts)]
    out = output_bits(chip)
    return [(b, max(out - seen, 1)) for b, seen in zip(bits, before, strict=True)]


def neuron_latency_s(chip: Chip, constants: Constants, tile: Tile) -> Any:
    """Latency of all reads of a chip with voltage-mode neurons (s), of each set of constants.

    A step of the neuron is the row's clock, or the class's; where the row states how long a neuron
    integrates its inputs, that stands in place of the pulses.
    """
    step: Any = constants.neuron_step_s * float(scaling.delay_factor(32.0, chip.node_nm))
    step = step if chip.clock_hz is None else 1 / chip.clock_hz
    technology = dataclasses.replace(tile.technology, neuron_step_s=step)
    total: Any = 0.0
    for magnitude, out in neuron_reads(chip):
        read = dataclasses.replace(
            tile, technology=technology, dac_bits=magnitude, adc_bits=out, phases=1
        )
        parts = tile_latency_s(read)
        if chip.integration_s is not None:
            parts["integration"] = np.asarray(chip.integration_s)
        total = total + sum(parts.values())
    return total[()]


def _neuron_converter(chip: Chip, constants: Constants) -> float:
    """Energy of a voltage-mode neuron over the column converter.

    It decides bit after bit, however few; comparators would be cheaper.
    """
    bits = output_bits(chip)
    return constants.neuron_energy_factor * max(bits / ((2**bits - 1) * adc.FLASH_SHARE), 1.0)


def _parallel_base(chip: Chip, constants: Constants) -> Technology:
    """What non-volatile macros share: drivers, column logic and converters, scaled from 22 nm."""
    logic = float(scaling.energy_factor(22.0, chip.node_nm))
    shrink = np.power(scaling.area_factor(14.0, chip.node_nm), constants.periphery_area_exponent)
    return dataclasses.replace(
        load_technology("rram-22nm"),
        node_nm=chip.node_nm,
        cell_area_m2=2 * 53 * (chip.node_nm * 1e-9) ** 2,
        adc_energy_factor=constants.sar_energy_factor,
        adc_unit_time_s=1e-10,
        pipelined=1,
        step_overhead_s=0.0,
        driver_slot_energy_j=30e-15 * logic,
        driver_area_m2=120e-12 * shrink,
        output_area_m2=100e-12 * shrink,
        output_bit_energy_j=10e-15 * logic,
    )


def _analog(chip: Chip, constants: Constants) -> Tile:
    """Integrating neurons, or sampled analog columns: all rows at once."""
    neuron = chip_class(chip) == "integrating neuron"
    step = constants.rram_step_s * float(scaling.delay_factor(22.0, chip.node_nm))
    if chip.input_mode == "pulse_width":
        step = 1e-9  # as in HERMES
    technology = dataclasses.replace(
        _parallel_base(chip, constants),
        supply_v=chip.supply_v or IO_SUPPLY_V,
        devices_per_weight=chip.devices_per_weight or 2,
        mean_conductance_s=constants.rram_conductance_s,
        input_slot_s=1 / chip.clock_hz if chip.clock_hz else step,
    )
    bits = math.ceil(chip.input_bits)
    if neuron:
        factor = _neuron_converter(chip, constants)
        technology = dataclasses.replace(technology, adc_energy_factor=factor)
        bits = max(bits - 1, 1)
    mode = {"pulse_width": "pwm", "bit_serial": "bit_serial", "voltage_levels": "level"}
    return _tile(chip, technology, constants, bits, mode.get(chip.input_mode, "pulse_train"))


def input_steps(chip: Chip) -> int:
    """Steps that the bits of an input take one after another."""
    return math.ceil(math.ceil(chip.input_bits) / (chip.input_bits_per_step or 1))


def _columns_per_weight(chip: Chip) -> int:
    """Physical columns of a sliced weight; both signs of a column share its conversion."""
    return math.ceil(weight_bits(chip) / (chip.bits_per_cell or 1))


def _sliced_study(chip: Chip, constants: Constants) -> Tile:
    """ISAAC's class of studies: an input bit a read of the whole array, one conversion each."""
    columns = _columns_per_weight(chip)
    technology = dataclasses.replace(
        _parallel_base(chip, constants),
        supply_v=0.8,
        devices_per_weight=columns,
        columns_per_weight=columns,
        mean_conductance_s=ISAAC_CONDUCTANCE_S,
        input_slot_s=1 / chip.clock_hz if chip.clock_hz else ISAAC_STEP_S,
        adc_energy_factor=ISAAC_ADC_FACTOR,
        driver_slot_energy_j=columns * ISAAC_DRIVE_J,
    )
    bits = math.ceil(chip.input_bits)
    return _tile(chip, technology, constants, bits, "bit_serial", chip.rows_at_once)


def _sensed(chip: Chip, constants: Constants) -> Tile:
    """Sensed macro: input bits one after another, added before one conversion (or each alone).

    So energy and time are a conversion and as many array steps as bits: published macros of 1, 2, 4
    and 8 bits follow (Xue et al., ISSCC 2020 and 2021). Drives as many rows as its converter
    resolves with one-bit inputs, where the row does not say.
    """
    columns, volts = _columns_per_weight(chip), supply_v(chip)
    # An access takes time with the square root of gate delay: 14.8 ns at 65 nm (Chen et al., ISSCC
    # 2018), 9.8 ns at 22 nm (Xue et al., ISSCC 2020, same group, binary inputs). What it draws
    # follows its wires: with the delay, so that larger nodes have the larger currents.
    slower = math.sqrt(float(scaling.delay_factor(22.0, chip.node_nm)))
    own = TECHNOLOGY_OF.get(chip.device)
    relative = 1.0
    if own is not None:
        conductance_s = float(load_technology(own).mean_conductance_s)
        relative = conductance_s / Constants.macro_conductance_s
    conductance = constants.macro_conductance_s * relative * slower * volts / READ_V
    technology = dataclasses.replace(
        _parallel_base(chip, constants),
        supply_v=volts,
        devices_per_weight=chip.devices_per_weight or 2 * columns,
        columns_per_weight=columns,
        mean_conductance_s=conductance,
        input_slot_s=1 / chip.clock_hz if chip.clock_hz else constants.macro_step_s * slower,
        step_overhead_s=constants.macro_overhead_s * slower,
    )
    levels = 2 ** (chip.bits_per_cell or 1) - 1
    exact = max(int(2 ** output_bits(chip) / levels), 1)
    mode = {"bit_serial": "bit_serial", "voltage_levels": "level"}.get(
        chip.input_mode, "pulse_train"
    )
    rows = chip.rows_at_once or min(exact, chip.rows)
    return _tile(chip, technology, constants, input_steps(chip), mode, rows)


def _rows_read(chip: Chip) -> int | None:
    """Rows that an SRAM macro reads together; None for all."""
    if chip.rows_at_once or chip.column_sum == "ladder":
        return chip.rows_at_once or max(chip.rows // LADDER_ROWS, 1)
    linear = chip_class(chip) != "bit-line discharge"
    linear = linear or output_bits(chip) == 1  # a sign needs no linear bit line
    return None if linear else min(chip.rows, BIT_LINE_ROWS)


def _bits_resolved(chip: Chip) -> int:
    """Bits that an SRAM column's converter works for: a sum of few rows has no more levels.

    Further bits of its output come from adding columns or steps up.
    """
    rows = _rows_read(chip) or chip.rows
    serial = chip.input_mode == "bit_serial"  # one bit of input and weight a conversion
    levels = (2 ** math.ceil(chip.input_bits) - 1) * (2 ** weight_bits(chip) - 1)
    return min(output_bits(chip), max((rows * (1 if serial else levels)).bit_length(), 1))


def _stand_alone_factor(bits: int, node_nm: float, volts: float) -> float:
    """The survey's best converter over a column's."""
    best = adc.survey_energy_j(max(bits, 4), 1e8, node_nm)
    return float(best / adc.column_energy_j(bits, 1e8, node_nm, volts))


def _sram_bit_energy_j(chip: Chip, constants: Constants) -> Any:
    """Energy of one bit of the array for one input bit (J).

    Capacitors and wires shrink with the linear dimension, not with the gates.
    """
    at_65nm = {
        "charge domain": constants.charge_cell_energy_j,
        "bit-line discharge": constants.bit_line_energy_j,
        "bit-line current": constants.current_cell_energy_j,
    }[chip_class(chip)]
    # A C-2C ladder has 3C a bit where a charge-domain cell has C.
    capacitors = 3 if chip.column_sum == "ladder" else 1
    return at_65nm * capacitors * (chip.node_nm / 65 * (supply_v(chip) / 0.8) ** 2)


def _reads(chip: Chip) -> int:
    """How often a column is read for one result: once, or for every level (Yu et al., CICC 2020: 31
    reads for 5 bits take 31 times the time and the energy of one).
    """
    return 2 ** output_bits(chip) - 1 if chip.readout == "repeated_sense" else 1


def _sram_step_s(chip: Chip, constants: Constants) -> Any:
    """Time of one access (s): by rows that a column of capacitors sums, else by the input's pulses.

    Several bits at once are a level (one step) or a pulse (up to 2^(bits-1) units), and rows seldom
    say which: the geometric mean.
    """
    if chip.clock_hz:
        return 1 / chip.clock_hz
    slower = float(
        scaling.delay_factor(28.0, chip.node_nm) * scaling.supply_delay_factor(supply_v(chip))
    )
    if chip_class(chip) == "charge domain":
        return constants.charge_row_s * (_rows_read(chip) or chip.rows) * slower
    # An access follows the square root of gate delay, as in sensed macros.
    bits = 1 if chip.input_mode == "bit_serial" else math.ceil(chip.input_bits)
    units = {"pulse_width": 2.0 ** (bits - 1), "voltage_levels": 1.0}
    pulses = units.get(chip.input_mode, 2.0 ** ((bits - 1) / 2))
    return constants.bit_line_access_s * math.sqrt(slower) * pulses * _reads(chip)


def _sram(chip: Chip, constants: Constants) -> Tile:
    """Bits of SRAM or gain cells that share charge, discharge a bit line or drive a current."""
    kind, volts = chip_class(chip), supply_v(chip)
    serial, ladder = chip.input_mode == "bit_serial", chip.column_sum == "ladder"
    # An input at once is a level (one charge) or pulses (up to one a bit), and rows seldom say
    # which: the geometric mean; a bit line is discharged by pulses. A ladder and a stated level
    # switch once.
    once = ladder or serial or chip.input_mode == "voltage_levels"
    power = 1.0 if kind == "bit-line discharge" else 0.5
    switched = 1.0 if once else math.ceil(chip.input_bits) ** power
    reads = _reads(chip)
    factor = constants.sram_adc_factor
    if kind != "charge domain":
        factor = constants.bit_line_adc_factor
    if ladder:
        factor = _stand_alone_factor(output_bits(chip), chip.node_nm, volts)
    rows_read = _rows_read(chip)
    bits = weight_bits(chip)
    resolved = 1 if reads > 1 else _bits_resolved(chip)
    drive = LADDER_DAC_F * chip.input_bits * volts**2 if ladder else 10e-15
    cell = _sram_bit_energy_j(chip, constants) * bits * switched
    technology = dataclasses.replace(
        load_technology("sram-16nm"),
        node_nm=chip.node_nm,
        supply_v=volts,
        columns_per_weight=bits if serial or kind != "charge domain" else 1,
        devices_per_weight=bits,
        input_slot_s=_sram_step_s(chip, constants),
        cell_switch_energy_j=cell * reads,
        adc_energy_factor=factor * reads,
        driver_slot_energy_j=drive * reads,
        pipelined=1,
        step_overhead_s=0.0,
    )
    mode = "bit_serial" if serial else "level"
    plain = dataclasses.replace(chip, output_bits=resolved, readout="")
    return _tile(plain, technology, constants, input_steps(chip), mode, rows_read)


def tile_of(chip: Chip, constants: Constants) -> Tile | None:
    """The chip as a tile of our models; None for an all-digital macro.

    Raises ValueError for a device whose cells are not modelled.
    """
    kind = chip_class(chip)
    if kind == "digital":
        return None
    if chip.device not in ("pcm", "rram", "flash", "sram", "edram"):
        raise ValueError(
            f"no model of cells of {chip.device} that are read as currents; modelled: PCM, RRAM, "
            "flash, SRAM, gain cells, and digital macros of every device"
        )
    if kind == "pulse width":
        return _pulse_width(chip, constants)
    if kind in ("integrating neuron", "sampled analog"):
        return _analog(chip, constants)
    if kind == "sliced study":
        return _sliced_study(chip, constants)
    return _sensed(chip, constants) if kind == "sensed macro" else _sram(chip, constants)
