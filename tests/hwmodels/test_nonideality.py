"""Device noise and converters against aihwkit's torch tile and aihwkit-lightning's linear layer."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp, norm

from hwmodels.analog_product import analog_grouped_linear, analog_linear, grouped_at_once, prepare
from hwmodels.nonideality import (
    RRAM_TIMES_S,
    Noise,
    SignedNormal,
    block_sizes,
    device_model,
    program,
)
from hwmodels.technology import NOISE_MODELS

DAY = 86400.0

pytestmark = pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")


def generator(seed=0):
    # Far from the seeds of the weights: equal seeds would make noise that follows the weights.
    return torch.Generator().manual_seed(1_000_003 + seed)


def matrix(outputs=96, inputs=160, seed=1, dtype=torch.float32):
    heavy = torch.distributions.StudentT(5.0)
    torch.manual_seed(seed)
    return (0.02 * heavy.sample((outputs, inputs))).to(dtype)


def aihwkit_layer(weight, noise, input_range=None, dtype=torch.float32, compensate=True):
    """aihwkit's own torch tiles for the same hardware: the reference of this file."""
    from aihwkit.inference.compensation.drift import GlobalDriftCompensation
    from aihwkit.nn import AnalogLinearMapped
    from aihwkit.simulator.configs import TorchInferenceRPUConfig
    from aihwkit.simulator.parameters.enums import (
        BoundManagementType,
        NoiseManagementType,
        RPUDataType,
    )

    config = TorchInferenceRPUConfig()
    config.runtime.data_type = RPUDataType.DOUBLE if dtype == torch.float64 else RPUDataType.FLOAT
    config.mapping.max_input_size = noise.tile_rows
    config.mapping.max_output_size = 0
    config.mapping.weight_scaling_omega = 1.0
    config.mapping.weight_scaling_columnwise = True
    config.mapping.digital_bias = True
    config.noise_model = device_model(noise.noise_model, noise.magnitude)
    config.drift_compensation = GlobalDriftCompensation() if compensate else None
    if noise.dac_bits is None:
        config.forward.is_perfect = True
    else:
        config.forward.noise_management = NoiseManagementType.NONE
        config.forward.bound_management = BoundManagementType.NONE
        config.forward.inp_res = 2**noise.dac_bits - 2
        config.forward.out_res = 2**noise.adc_bits - 2
        config.forward.out_bound = noise.output_range
        config.forward.out_noise = 0.0
        config.forward.w_noise = 0.0
        config.pre_post.input_range.enable = True
    layer = AnalogLinearMapped(weight.shape[1], weight.shape[0], bias=False, rpu_config=config)
    layer = layer.to(dtype)
    layer.set_weights(weight)
    if input_range is not None:
        for tile, beta in zip(layer.analog_tiles(), input_range, strict=True):
            tile.input_range.data.fill_(float(beta))
    layer.eval()
    return layer


def aihwkit_effective(layer, inputs):
    """The weights the layer computes with, read through perfect converters."""
    with torch.no_grad():
        return layer(torch.eye(inputs)).T


def ours(weight, noise, seed=0, sign=1):
    sizes = block_sizes(weight.shape[-1], math.ceil(weight.shape[-1] / noise.tile_rows))
    return program(weight, sizes, noise, generator=generator(seed), sign=sign)


# Every noise model just programmed and at several times (the RRAM at those it was measured at).
CASES = [
    (name, time_s)
    for name in NOISE_MODELS
    for time_s in (None, *(RRAM_TIMES_S if name == "rram" else (0.0, 3600.0, DAY, 30 * DAY)))
]
BITS = (4, 5, 6, 7, 8, 9, 10)
TILE_ROWS = (128, 256, 512, 1024)
# Every noise model at every time, and every resolution with every tile size, in 28 runs.
OUTPUT_CASES = [
    (*CASES[number % len(CASES)], bits, rows)
    for number, (bits, rows) in enumerate(product(BITS, TILE_ROWS))
]


@pytest.mark.parametrize(("name", "time_s"), CASES)
def test_weight_error_has_the_distribution_of_aihwkit(name, time_s):
    weight = matrix(160, 250)
    noise = Noise(name, time_s=time_s, tile_rows=128, dac_bits=None, adc_bits=None)
    theirs, mine = [], []
    torch.manual_seed(3)
    for seed in range(4):
        layer = aihwkit_layer(weight, noise)
        layer.program_analog_weights()
        if time_s is not None:
            layer.drift_analog_weights(time_s)
        theirs.append(aihwkit_effective(layer, 250) - weight)
        mine.append(ours(weight, noise, seed).effective_weight() - weight)
    left, right = torch.stack(mine).flatten(), torch.stack(theirs).flatten()
    scale = right.std()
    error = scale * math.sqrt(2 / len(left))
    assert abs(left.mean() - right.mean()) < 5 * error
    # Drift compensation is one random factor a tile: a few tiles more or less of it.
    assert abs(left.std() / right.std() - 1) < (0.01 if time_s is None else 0.02)
    # The 1e-4 quantile of the two-sample Kolmogorov-Smirnov statistic at 160,000 samples each.
    assert ks_2samp(left.numpy(), right.numpy()).statistic < 0.0079


@pytest.mark.parametrize("name", NOISE_MODELS)
def test_the_same_random_numbers_give_aihwkit_s_weights_exactly(name):
    weight = torch.randn(40, 64, generator=generator(2))
    noise = Noise(name, magnitude=1.5, tile_rows=64)
    scaled = weight / weight.abs().amax(1, keepdim=True)
    mine = ours(weight, noise, 7)
    model = device_model(name, 1.5)
    conductances, parameters = model.g_converter.convert_to_conductances(scaled)
    # aihwkit draws for one conductance after the other, we draw for all of them at once.
    target = conductances if name == "cmo-hfox" else torch.stack(conductances)
    with SignedNormal(generator(7)):
        noisy = model.apply_programming_noise_to_conductance(target)
    expected = model.g_converter.convert_back_to_weights(
        noisy if name == "cmo-hfox" else list(noisy), parameters
    )
    torch.testing.assert_close(mine.weight, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NOISE_MODELS)
def test_noise_scale_follows_the_published_polynomial(name):
    """Large equal weights are far from the clipping at zero: sigma is the polynomial there."""
    relative = 0.75
    weight = torch.full((400, 256), relative)
    weight[:, 0] = 1.0
    weight[0, 1] = -1.0
    error = (ours(weight, Noise(name, tile_rows=256)).effective_weight() - weight)[1:, 1:]
    published = {  # standard deviation in percent of g_max (shared tables of the five models)
        "pcm": 100 * (0.26348 + 1.965 * relative - 1.1731 * relative**2) / 25.0,
        "hermes": 4.408,
        "hermes-1device": 9.419,
        "rram": 3.832,
    }
    if name == "cmo-hfox":
        conductance = 9.0 + (relative + 1) / 2 * (88.199997 - 9.0)
        sigma = (0.0112185391 + 0.01129027418 * conductance) / (88.199997 - 9.0) * 2
        published[name] = 100 * sigma
    # A pair has a second device at zero conductance, whose clipped noise adds to the spread.
    at_zero = {"pcm": 1.054, "hermes": 0.802, "hermes-1device": 1.525, "rram": 0.870}
    clipped = at_zero.get(name, 0.0) * math.sqrt(0.5 - 1 / (2 * math.pi))
    expected = math.hypot(published[name], clipped)
    assert 100 * error.std().item() == pytest.approx(expected, rel=0.02)


SHAPES = [(128, 300), (256, 600), (512, 1100), (1024, 1024), (1024, 1500)]


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(("tile_rows", "inputs"), SHAPES)
def test_converters_equal_aihwkit_element_by_element(bits, tile_rows, inputs):
    """Without noise, in double precision, every ADC code is the same; also for uneven blocks."""
    weight = matrix(24, inputs, dtype=torch.float64)
    noise = Noise(magnitude=0.0, tile_rows=tile_rows, dac_bits=bits, adc_bits=bits)
    x = torch.randn(40, inputs, generator=generator(5), dtype=torch.float64) ** 3
    programmed = ours(weight, noise)
    beta = torch.linspace(2.0, 3.0, len(programmed.sizes), dtype=torch.float64)
    layer = aihwkit_layer(weight, noise, beta, torch.float64)
    with torch.no_grad():
        expected = layer(x)
    result = analog_linear(x, prepare(programmed, beta, noise))
    torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(("tile_rows", "inputs"), SHAPES)
def test_converters_equal_aihwkit_lightning(bits, tile_rows, inputs):
    from aihwkit_lightning.nn import AnalogLinear
    from aihwkit_lightning.simulator.configs import TorchInferenceRPUConfig, WeightClipType

    weight = matrix(24, inputs, dtype=torch.float64)
    noise = Noise(
        magnitude=0.0, tile_rows=tile_rows, dac_bits=bits, adc_bits=bits, output_range=3.0
    )
    config = TorchInferenceRPUConfig()
    config.mapping.max_input_size = noise.tile_rows
    config.forward.inp_res = 2**bits - 2
    config.forward.out_res = 2**bits - 2
    config.forward.out_bound = noise.output_range
    config.pre_post.input_range.enable = True
    config.clip.type = WeightClipType.LAYER_GAUSSIAN_PER_CHANNEL
    config.clip.sigma = 100.0  # clips nothing: chosen for its ADC range per column
    layer = AnalogLinear(inputs, 24, bias=False, rpu_config=config).to(torch.float64).eval()
    layer.weight.data.copy_(weight)
    programmed = ours(weight, noise)
    beta = torch.linspace(2.0, 3.0, len(programmed.sizes), dtype=torch.float64)
    layer.input_range.data.copy_(beta)
    x = torch.randn(40, inputs, generator=generator(5), dtype=torch.float64) ** 3
    with torch.no_grad():
        expected = layer(x)
    result = analog_linear(x, prepare(programmed, beta, noise))
    torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("name", "time_s", "bits", "tile_rows"), OUTPUT_CASES)
def test_output_error_has_the_distribution_of_aihwkit(name, time_s, bits, tile_rows):
    inputs = 1100  # no tile size divides it
    weight = matrix(64, inputs)
    noise = Noise(name, time_s=time_s, tile_rows=tile_rows, dac_bits=bits, adc_bits=bits)
    x = torch.randn(100, inputs, generator=generator(4))
    clean = x @ weight.T
    blocks = math.ceil(inputs / tile_rows)
    beta = torch.full((blocks,), 4.0)
    mine, theirs = [], []
    torch.manual_seed(11)
    for seed in range(4):
        layer = aihwkit_layer(weight, noise, beta)
        # aihwkit reads its drift compensation with one-hot inputs through the same converters,
        # which at 4 or 5 bits lose most weights; we take that reading as exact.
        for tile in layer.analog_tiles():
            tile.tile._f_io.is_perfect = bits < 6
        layer.program_analog_weights()
        if time_s is not None:
            layer.drift_analog_weights(time_s)
        for tile in layer.analog_tiles():
            tile.tile._f_io.is_perfect = False
        with torch.no_grad():
            theirs.append(layer(x) - clean)
        mine.append(analog_linear(x, prepare(ours(weight, noise, seed), beta, noise)) - clean)
    left, right = torch.stack(mine).flatten(), torch.stack(theirs).flatten()
    # 256 programmed columns are the independent samples: 5 standard errors of a deviation.
    assert left.std() / right.std() == pytest.approx(1.0, abs=5 / math.sqrt(2 * 256))
    assert abs(left.mean() - right.mean()) < 5 * right.std() / math.sqrt(256)
    assert ks_2samp(left.numpy(), right.numpy()).statistic < 0.05


def test_antithetic_noise_is_opposite_where_nothing_is_clipped():
    weight = torch.full((8, 16), 0.8)
    weight[:, 0] = 1.0
    noise = Noise("pcm", tile_rows=16)
    plus, minus = (ours(weight, noise, sign=sign).weight for sign in (1, -1))
    spread = (plus - minus).std()
    both = (plus + minus) / 2 - weight
    # The device at zero conductance clips one of the two signs; the rest cancels.
    assert both.abs().max() < 0.05
    assert both.std() < 0.2 * spread


def test_both_signs_have_the_same_distribution():
    weight = matrix(200, 250)
    noise = Noise("pcm", time_s=3600.0, tile_rows=250)
    plus = ours(weight, noise, 1, 1).weight - ours(weight, Noise(magnitude=0.0), 1).weight
    minus = ours(weight, noise, 2, -1).weight - ours(weight, Noise(magnitude=0.0), 1).weight
    assert ks_2samp(plus.flatten().numpy(), minus.flatten().numpy()).statistic < 0.014


def test_signed_normal_is_standard_normal_and_reproducible():
    with SignedNormal(generator(3)):
        first = torch.randn_like(torch.empty(20000))
    with SignedNormal(generator(3), -1):
        second = torch.randn_like(torch.empty(20000))
    assert torch.equal(first, -second)
    assert ks_2samp(first.numpy(), norm.rvs(size=20000, random_state=0)).statistic < 0.02


def test_noise_is_monotone_in_magnitude_and_time():
    weight = matrix()
    scale = [
        (ours(weight, Noise(magnitude=c, tile_rows=160)).effective_weight() - weight).std()
        for c in (0.0, 0.5, 1.0, 2.0, 4.0)
    ]
    assert scale[0] < 1e-6 and all(np.diff(scale) > 0)
    drift = [
        (ours(weight, Noise(time_s=t, tile_rows=160)).effective_weight() - weight).std()
        for t in (0.0, 3600.0, DAY, 365 * DAY)
    ]
    assert all(np.diff(drift) > 0)


def test_experts_are_programmed_as_one_batch():
    weight = torch.randn(5, 12, 20, generator=generator(1))
    noise = Noise(magnitude=0.0, tile_rows=8)
    batched = program(weight, (7, 7, 6), noise, generator=generator())
    for expert in range(5):
        single = program(weight[expert], (7, 7, 6), noise, generator=generator())
        assert torch.equal(batched.weight[expert], single.weight)
        assert torch.equal(batched.scale[expert], single.scale)


@pytest.mark.parametrize("sizes", [(32,), (16, 16), (12, 12, 8)])
def test_grouped_products_are_those_of_each_expert_alone(sizes):
    weight = torch.randn(4, 12, 32, generator=generator(1), dtype=torch.float64)
    x = torch.randn(400, 32, generator=generator(2), dtype=torch.float64)
    counts = torch.tensor([177, 0, 222, 1])
    noise = Noise(magnitude=0.0)
    ranges = 2 + torch.rand(4, len(sizes), generator=generator(3), dtype=torch.float64)
    alone = [
        analog_linear(rows, prepare(program(one, sizes, noise, generator=generator()), beta, noise))
        for rows, one, beta in zip(x.split(counts.tolist()), weight, ranges, strict=True)
    ]
    together = prepare(program(weight, sizes, noise, generator=generator()), ranges, noise)
    layouts = (_single(together), _single(replace(together, weight=together.weight.contiguous())))
    for grouped, matrix in product((analog_grouped_linear, grouped_at_once), layouts):
        result = grouped(x.float(), matrix, counts)
        far = (result - torch.cat(alone)).abs() > 1e-4
        assert far.double().mean() < 0.01  # a product between two codes may fall to either


def _single(matrix):
    return replace(
        matrix,
        weight=matrix.weight.float(),
        input_scale=matrix.input_scale.float(),
        output_scale=matrix.output_scale.float(),
    )


@given(inputs=st.integers(1, 3000), blocks=st.integers(1, 40))
def test_block_sizes_cover_the_inputs_evenly(inputs, blocks):
    if blocks > inputs:
        with pytest.raises(ValueError, match="cannot be cut"):
            block_sizes(inputs, blocks)
        return
    sizes = block_sizes(inputs, blocks)
    assert sum(sizes) == inputs and max(sizes) - min(sizes) <= 1 and len(sizes) == blocks


@given(bits=st.integers(2, 12), rows=st.sampled_from([16, 50, 100]))
def test_the_output_error_is_at_most_half_a_code_a_block(bits, rows):
    """Ideal DAC, range never exceeded: the ADC is the only error and it is bounded."""
    weight = torch.randn(6, 100, generator=generator(2), dtype=torch.float64)
    x = torch.rand(20, 100, generator=generator(3), dtype=torch.float64) - 0.5
    noise = Noise(magnitude=0.0, tile_rows=rows, dac_bits=None, adc_bits=bits, output_range=50.0)
    programmed = ours(weight, noise)
    blocks = len(programmed.sizes)
    result = analog_linear(x, prepare(programmed, torch.ones(blocks, dtype=torch.float64), noise))
    code = 50.0 / (2 ** (bits - 1) - 1)
    bound = code / 2 * programmed.scale.sum(0)
    assert ((result - x @ weight.T).abs() <= bound + 1e-9).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise_model": "pmc"}, "nearest is pcm"),
        ({"noise_model": "flash"}, "no noise model 'flash'"),
        ({"magnitude": -1.0}, "magnitude is -1.0"),
        ({"magnitude": math.nan}, "magnitude is nan"),
        ({"adc_bits": 1}, "adc_bits is 1; a whole number from 2 to 16"),
        ({"dac_bits": 17}, "dac_bits is 17"),
        ({"tile_rows": 0}, "tile_rows is 0"),
        ({"time_s": -3.0}, "time_s is -3.0"),
        (
            {"noise_model": "rram", "time_s": 3 * DAY},
            "to an age of 172800 s only.*nearest is 172800",
        ),
        ({"word_line_drop": -0.1}, "word_line_drop is -0.1"),
        ({"bit_line_drop": math.nan}, "bit_line_drop is nan"),
        ({"input_range_std": 0.0}, "input_range_std is 0.0"),
        ({"output_range": math.inf}, "output_range is inf"),
    ],
)
def test_values_out_of_range_are_refused_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        Noise(**arguments)
    assert "\n" not in str(caught.value)


def test_weights_with_nan_are_refused():
    weight = matrix()
    weight[3, 4] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        ours(weight, Noise(tile_rows=160))


def test_column_of_zeros_stays_finite():
    weight = matrix(8, 32)
    weight[2] = 0.0
    result = ours(weight, Noise("pcm", time_s=10.0, tile_rows=16)).effective_weight()
    assert torch.isfinite(result).all()
