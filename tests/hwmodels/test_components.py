"""Component models against published values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels.components import adc, cell_array, dac, link, mac, scaling, sram


@pytest.mark.parametrize(
    ("node_nm", "bits", "picojoule"),
    [(65, 7, 4.97), (65, 8, 6.49), (32, 7, 1.31), (32, 8, 1.71), (14, 7, 0.277), (14, 8, 0.362)],
)
def test_survey_energy_of_published_points(node_nm: int, bits: int, picojoule: float) -> None:
    """CiMLoop's regression at 1 GS/s and below; 14 nm lies on its lower curve."""
    energy = 1e12 * float(adc.survey_energy_j(bits, 1e8, node_nm))
    assert energy == pytest.approx(picojoule, rel=0.02)


@pytest.mark.parametrize(("bits", "picojoule"), [(4, 0.365), (6, 0.421), (8, 0.678), (10, 5.52)])
def test_survey_at_22nm_1gsps(bits: int, picojoule: float) -> None:
    """hwcomponents' edition of the regression: same shape, 20 % less energy."""
    energy = 1e12 * float(adc.survey_energy_j(bits, 1e9, 22))
    assert energy / picojoule == pytest.approx(1.25, rel=0.01)


@pytest.mark.parametrize(
    ("node_nm", "bits", "supply_v", "picojoule", "square_micron", "off"),
    [
        (65, 8, 0.85, 1.79, 5000, 1.3),  # Jia et al., JSSC 2020, measured
        (65, 8, 1.2, 3.56, 5000, 1.3),
        (28, 8, 0.9, 0.70, 2086, 1.01),  # ZigZag-IMC
        (32, 8, 1.0, 1.67, 1200, 2.0),  # Kull et al., as used by ISAAC, at 1.2 GS/s
        (32, 4, 1.0, 0.226, 284, 2.2),  # FORMS
    ],
)
def test_column_converters(
    node_nm: int, bits: int, supply_v: float, picojoule: float, square_micron: float, off: float
) -> None:
    """Published converters of in-memory macros, none of which the formula was fitted to."""
    energy = 1e12 * float(adc.column_energy_j(bits, 1e8, node_nm, supply_v))
    area = 1e12 * float(adc.column_area_m2(bits, node_nm))
    assert 1 / off <= energy / picojoule <= off
    assert 1 / off <= area / square_micron <= off


def test_few_bits_are_cheap_and_speed_is_not() -> None:
    """One bit is one comparator of the fifteen that a flash converter of four bits has."""
    one, four = (float(adc.column_energy_j(bits, 1e6, 28, 1.0)) for bits in (1, 4))
    assert four / one == pytest.approx(15, rel=0.01)
    slow, fast = (float(adc.column_energy_j(8, rate, 28, 1.0)) for rate in (1e8, 4.4e9))
    assert fast / slow == pytest.approx(4 ** (2.8719 * np.log(10) / 10), rel=0.02)


@pytest.mark.parametrize(
    ("old", "new", "area", "energy", "delay"),
    [
        (45, 32, 0.46, 0.66, 0.71),
        (45, 14, 0.17, 0.139, 0.31),
        (45, 7, 0.059, 0.094, 0.16),
        (32, 14, 0.38, 0.211, 0.44),
        (28, 14, 0.53, 0.27, 0.50),
        (65, 14, 0.12, 0.112, 0.215),
        (130, 14, 0.027, 0.045, 0.108),
        (14, 7, 0.34, 0.68, 0.50),
    ],
)
def test_scaling_factors(old: int, new: int, area: float, energy: float, delay: float) -> None:
    """Stillmaker and Baas 2017; two published routes between nodes differ by a few per cent."""
    assert float(scaling.area_factor(old, new)) == pytest.approx(area, rel=0.04)
    assert float(scaling.energy_factor(old, new)) == pytest.approx(energy, rel=0.04)
    assert float(scaling.delay_factor(old, new)) == pytest.approx(delay, rel=0.04)


def test_scaling_outside_the_table() -> None:
    for node in (2, 250):
        with pytest.raises(ValueError, match="3 to 180 nm"):
            scaling.area_factor(node, 14)


def test_adders_shrink_with_pitch() -> None:
    """One design of one foundry at three nodes, at equal supply: within a factor of 2.

    4-bit TOPS/W of Chih et al. (ISSCC 2021), Lee et al. (VLSI 2022), Fujiwara et al. (ISSCC 2022).
    """
    published = {22: 89.0, 12: 121.0, 5: 254 * (0.5 / 0.72) ** 2}
    for node, efficiency in published.items():
        gain = mac.gate_energy_j(0.72, 22) / mac.gate_energy_j(0.72, node)
        assert 0.5 < gain / (efficiency / published[22]) < 2, node
    assert scaling.dimension_factor(28, 65) == pytest.approx(65 / 28)


def test_pulse_width_and_serial_slots() -> None:
    """HERMES: 8 bit in 128 slots; ISAAC: 16 bits in 16."""
    assert dac.slots("pwm", 8) == 128
    assert dac.slots("bit_serial", 16) == 16
    assert dac.conversions("bit_serial", 16) == 16
    assert dac.conversions("pwm", 8) == dac.conversions("pulse_train", 6) == 1


def test_converter_times() -> None:
    """One clock a bit, one count a level, one shot."""
    assert float(adc.time_s("sar", 8, 1e-9)) == pytest.approx(8e-9)
    assert float(adc.time_s("cco", 8, 300e-12)) == pytest.approx(76.8e-9)
    assert float(adc.time_s("flash", 8, 1e-9)) == pytest.approx(1e-9)
    assert float(adc.energy_j("flash", 3, 22, 1e-9, 1e-14)) == pytest.approx(7e-14)


@given(st.integers(1, 13), st.sampled_from(adc.KINDS), st.sampled_from([7, 14, 22, 65, 130]))
def test_more_bits_never_cost_less(bits: int, kind: str, node: int) -> None:
    low, high = (adc.energy_j(kind, b, node, 1e-9, 1e-13) for b in (bits, bits + 1))
    assert 0 < float(low) <= float(high)
    low, high = (adc.area_m2(kind, b, node, 1e-13) for b in (bits, bits + 1))
    assert 0 < float(low) <= float(high)
    assert adc.time_s(kind, bits, 1e-9) <= adc.time_s(kind, bits + 1, 1e-9)


def test_tpu_memory_points() -> None:
    """TPUv4i: 0.249 pJ a bit read at 4 MiB, 1.88 at 128 MiB in 112 mm2."""
    for size, read in ((4, 0.249), (128, 1.88)):
        assert 1e12 * sram.read_energy_j_per_byte(size * 2**20) / 8 == pytest.approx(read)
    assert 1e6 * sram.area_m2(128 * 2**20) == pytest.approx(112)


def test_digital_constants() -> None:
    """Jouppi et al. 2021, 7 nm: 0.21 + 0.38 pJ in bfloat16, 0.07 + 0.03 in int8; 14 mm2 a unit."""
    assert 1e12 * mac.arithmetic_energy_j(16, 16, 7) == pytest.approx(0.59)
    assert 1e12 * mac.arithmetic_energy_j(8, 8, 7) == pytest.approx(0.10)
    assert 1e6 * 128**2 * mac.area_m2(16, 16, 7) == pytest.approx(14)
    assert mac.area_m2(8, 8, 7) == mac.area_m2(16, 16, 7) / 2


def test_operands_by_hand() -> None:
    """48 bits over 29 um at 0.083 pJ/mm, and 80 bits of a buffer for 128 units."""
    wires = 48 * np.sqrt(14 / 128**2) * 0.029 / 0.35
    edges = 80 / 128 * 0.12
    assert 1e12 * mac.delivery_energy_j(16, 16, 7) == pytest.approx(wires + edges)
    assert mac.delivery_energy_j(16, 16, 7, rows=16) > mac.delivery_energy_j(16, 16, 7)


def test_published_multiply_accumulates() -> None:
    """Data path of A100's tensor cores 0.66 pJ (Antepara et al., SC 2025); int8 test chip at 5 nm.

    That chip (Keller et al., VLSI 2022) takes 0.051 pJ at 0.46 V with half of its products zero:
    0.14 pJ at 0.75 V, and twice that without the zeros.
    """
    assert 1e12 * mac.energy_j(7, 16, 16) == pytest.approx(0.66, rel=0.25)
    at_nominal = 0.051 * (0.75 / 0.46) ** 2
    assert at_nominal < 1e12 * mac.energy_j(5, 8, 8) < 2 * at_nominal


def test_narrow_weights_beside_wide_activations_are_widened() -> None:
    """Four bits beside bfloat16 cost the same product and one widening; integers need none."""
    assert mac.energy_j(7, 4, 16) == mac.energy_j(7, 16, 16)
    assert 1e12 * mac.dequantise_energy_j(4, 16, 7) == pytest.approx(0.21)
    assert mac.dequantise_energy_j(16, 16, 7) == mac.dequantise_energy_j(4, 8, 7) == 0
    assert mac.energy_j(7, 4, 8) < mac.energy_j(7, 8, 8) < mac.energy_j(7, 8, 16)


def test_adder_tree_counts_full_adders() -> None:
    """Brute force: adders of every level of a balanced tree, six gate capacitances each."""
    inputs, bits = 256, 4
    adders = sum(inputs // 2**level * (bits + level - 1) for level in range(1, 9))
    exact = adders * 6 * 0.7e-15 * 0.9**2
    model = float(mac.adder_tree_energy_j(inputs, bits, 0.9, 28, activity=1.0))
    assert model == pytest.approx(exact, rel=0.03)


def test_isaac_router_hop() -> None:
    """20.74 pJ for 256 bits, one hop, 32 nm; 0.15 mm2 for four tiles."""
    assert float(link.energy_j(32, 1, 32.0)) == pytest.approx(20.74e-12)
    assert 1e6 * float(link.area_m2(4, 32.0)) == pytest.approx(0.15)
    assert float(link.hops(1)) == 1
    assert float(link.hops(400)) == 10


def test_ohm_and_capacitor() -> None:
    assert float(cell_array.read_power_w(0.2, 10e-6, 4)) == pytest.approx(1.6e-6)
    assert float(cell_array.wire_energy_j(256, 0.4e-15, 0.8)) == pytest.approx(256 * 0.4e-15 * 0.64)
    assert float(cell_array.staircase_area_m2(1, 1e-6, 512, 1e-14)) == 0
    steps = cell_array.staircase_area_m2(np.array([2, 3]), 1e-6, 512, 1e-14)
    assert steps[1] == 2 * steps[0] == pytest.approx(2 * 1e-6 * 512 * 1e-7)
