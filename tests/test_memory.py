"""Memory of training: estimates beside what tensors of each family really hold, in shapes alone."""

import json
import shutil

import forked
import pytest
from snaking import ROOT

from workflow.resources.model_sizes import LEFT_BYTES, Size

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def held() -> dict[str, dict[str, int]]:
    """For each family, what a training step holds."""
    if shutil.which("g++") is None:
        pytest.skip("no compiler: there is nothing to count on")
    done = forked.jobs().run([str(ROOT / "tests/fake_memory.py"), *LEFT_BYTES], ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.xdist_group("memory")
@pytest.mark.parametrize("family", LEFT_BYTES)
def test_training_holds_six_tenths_of_its_estimate_or_more_and_never_more_than_all(
    held: dict[str, dict[str, int]], family: str
):
    measured = held[family]
    shape = (measured[name] for name in ("parameters", "layers", "width", "vocabulary"))
    own = Size(*shape, family)
    estimated = 18 * own.parameters + measured["positions"] * own.left_bytes * own.depth
    assert 0.6 <= measured["bytes"] / estimated <= 1.0
    # compiled it leaves about 0.73 of that
    left = measured["bytes"] - 16 * own.parameters
    assert (measured["bytes"] - 0.27 * left) / estimated >= 0.6


@pytest.mark.xdist_group("memory")
def test_what_positions_leave_is_within_a_tenth_of_what_is_reckoned(
    held: dict[str, dict[str, int]],
):
    for family, measured in held.items():
        own = measured["layers"] * measured["width"] * measured["positions"]
        # without the bfloat16 copies of the weights, two bytes each
        left = measured["bytes"] - 18 * measured["parameters"]
        assert 0.8 <= left / own / LEFT_BYTES[family] <= 1.0, family


def test_a_family_that_nobody_has_counted_is_taken_to_need_the_most():
    assert Size(1, 1, 1, 1, "mamba").left_bytes == max(LEFT_BYTES.values())
