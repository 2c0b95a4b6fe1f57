"""One's own measured noise: read with every key checked, drawn as its numbers say."""

import os
from pathlib import Path

import pytest
import torch

import hwmodels
from hwmodels.noise_models import (
    NAMED,
    NOISE_MODELS,
    check_noise_model,
    fingerprint,
    g_max_s,
    longest_age_s,
    own_noise,
)
from hwmodels.nonideality import (
    Noise,
    SignedNormal,
    device_model,
    measured_time_s,
    program,
)
from hwmodels.technology import load_technology

DAY = 86400.0
SHIPPED = Path(hwmodels.__file__).parent / "presets" / "technologies" / "pcm-14nm.toml"
NOISE = """
[noise]
g_max_us = 25.0
programming_us = [0.26348, 1.965, -1.1731]
drift_exponent_mean = [0.06, -0.01]
drift_exponent_std = 0.02
drift_start_s = 20.0
read_noise = 0.01
read_time_s = 250e-9
longest_age_s = 604800
source = "measured here"
"""


def own(folder: Path, noise: str = NOISE) -> str:
    """A technology of one's own: HERMES' numbers with one's own noise."""
    lines = SHIPPED.read_text().splitlines()
    text = "\n".join(line for line in lines if not line.startswith("noise_model"))
    path = folder / "mine.toml"
    path.write_text(text + "\n" + noise)
    return str(path)


def test_a_technology_names_its_own_noise(tmp_path: Path) -> None:
    path = own(tmp_path)
    technology = load_technology(path)
    assert technology.noise_model == path
    assert technology.full_conductance_s == pytest.approx(25e-6)
    assert own_noise(path).drift_exponent_std == (0.02,)
    assert longest_age_s(path) == 7 * DAY and g_max_s(path) == pytest.approx(25e-6)
    check_noise_model(path)


def test_programming_is_that_of_the_named_model_with_its_numbers(tmp_path: Path) -> None:
    """PCM's polynomial and g_max (aihwkit's PCMLikeNoiseModel): the same draws and weights."""
    torch.manual_seed(1)
    weight = torch.randn(3, 20, 40)
    made = [
        program(weight, (20, 20), Noise(name, 1.5), generator=torch.Generator().manual_seed(4))
        for name in (own(tmp_path), "pcm")
    ]
    assert torch.allclose(made[0].weight, made[1].weight, atol=1e-6)


def test_drift_and_read_noise_have_their_moments(tmp_path: Path) -> None:
    """At r = 0.5 after a day: nu = 0.055 +- 0.02, g = 12.5 (86420/20)^-nu, and 1/f noise.

    Read noise: 0.01 sqrt(ln((86420 + 2.5e-7) / 5e-7)) = 0.0508 of the conductance.
    """
    model = device_model(own(tmp_path))
    target = torch.full((400_000,), 12.5, dtype=torch.float64)
    with SignedNormal(torch.Generator().manual_seed(2)):
        exponent = model.generate_drift_coefficients(target)
        still = torch.full_like(target, 0.055)
        drifted = model.apply_drift_noise_to_conductance(target, still, DAY)
    assert float(exponent.mean()) == pytest.approx(0.055, rel=0.01)
    assert float(exponent.std()) == pytest.approx(0.02, rel=0.02)
    assert float(drifted.mean()) == pytest.approx(12.5 * (86420 / 20) ** -0.055, rel=1e-3)
    assert float(drifted.std() / drifted.mean()) == pytest.approx(0.0508, rel=0.01)


def test_it_is_used_wherever_named_models_are(tmp_path: Path) -> None:
    """Antithetic pairs, row blocks, drift with compensation; a changed file is read again."""
    path = own(tmp_path)
    torch.manual_seed(2)
    weight = torch.randn(2, 30, 64)
    noise = Noise(path, time_s=DAY, tile_rows=32)

    def written(sign: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(3)
        return program(weight, (32, 32), noise, generator=generator, sign=sign).effective_weight()

    errors = [written(sign) - weight for sign in (1, -1)]
    assert float((errors[0] * errors[1]).sum()) < 0  # opposite noise
    assert 0.02 < float(errors[0].std() / weight.std()) < 0.3
    before = fingerprint(path)
    Path(path).write_text(Path(path).read_text().replace("1.965", "1.9650001"))
    os.utime(path, ns=(1, 1))
    assert fingerprint(path) != before
    assert fingerprint("pcm") == "pcm"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("programming_us =", "programing_us =", "'programing_us'; nearest is programming_us"),
        ("g_max_us = 25.0\n", "", "lacks the key 'g_max_us'"),
        ("longest_age_s = 604800\n", "", "lacks the key 'longest_age_s'"),
        ("1.965, -1.1731", "1.965, -4.0", r"falls to -1\.\d+ at \|g\|/g_max = 1\.00"),
        # 0.26 - 2 r + 2.5 r^2 is 0.26 and 0.76 at the ends and -0.14 at r = 0.4.
        ("[0.26348, 1.965, -1.1731]", "[0.26, -2, 2.5]", r"falls to -0\.14 at \|g\|/g_max = 0\.40"),
        ("[0.06, -0.01]", "[0.06, -0.1]", "drift_exponent_mean .* falls to -0.04"),
        ("[0.26348, 1.965, -1.1731]", '"noisy"', "coefficients of"),
        ("[0.26348, 1.965, -1.1731]", "[]", "coefficients of"),
        ("[0.26348, 1.965, -1.1731]", "[nan]", "coefficients of"),
        ("g_max_us = 25.0", "g_max_us = 0", "g_max_us of .* is 0; it must be"),
        ("longest_age_s = 604800", 'longest_age_s = "long"', "must be a number"),
        ('source = "measured here"', "source = 3", "it must be a text"),
        ("[noise]", 'noise_model = "pcm"\n[noise]', "leave one out"),
    ],
)
def test_noise_that_cannot_be_is_refused_in_one_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in NOISE
    path = own(tmp_path, NOISE.replace(old, new))
    with pytest.raises(ValueError, match=message) as caught:
        load_technology(path)
    assert "\n" not in str(caught.value)


def test_models_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nearest is hermes"):
        check_noise_model("herms")
    with pytest.raises(ValueError, match="cannot read"):
        Noise(str(tmp_path / "absent.toml"))
    with pytest.raises(ValueError, match=r"has no table \[noise\]"):
        Noise(own(tmp_path, ""))
    tile = tmp_path / "tile.toml"
    tile.write_text("rows = 4\ncols = 4\n[technology]\n[technology.noise]\ng_max_us = 1.0\n")
    with pytest.raises(ValueError, match="a technology file of its own"):
        hwmodels.load_tile(tile)


def test_ages(tmp_path: Path) -> None:
    """Wan et al. measured RRAM to two days; a younger age is read at the next measured one."""
    assert longest_age_s("rram") == 2 * DAY
    assert [measured_time_s("rram", age) for age in (0.5, 3600.0, DAY, 1.5 * DAY)] == (
        [1.0, DAY, DAY, 2 * DAY]
    )
    assert measured_time_s("pcm", 3600.0) == 3600.0
    for name in NOISE_MODELS:
        assert NAMED[name].g_max_s > 0 and NAMED[name].longest_age_s >= 2 * DAY
        with pytest.raises(ValueError, match="the nearest is"):
            Noise(name, time_s=2 * longest_age_s(name))
    with pytest.raises(ValueError, match="to an age of 604800 s only, not of 864000 s"):
        Noise(own(tmp_path), time_s=10 * DAY)


def test_named_conductances_are_those_of_the_models() -> None:
    for name in NOISE_MODELS:
        assert g_max_s(name) == pytest.approx(1e-6 * device_model(name).g_max)
