"""What stands out of a frame, its code, and how busy the film is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dustwatch.processing.arrays import Scan
from dustwatch.processing.density import Tone, density_table
from dustwatch.processing.residual import (
    AT_LEAST,
    BLOCK_PX,
    EXACTLY,
    NOT_AT_ALL,
    UNKNOWN,
    ResidualParams,
    background,
    block_means,
    decode,
    encode,
    mean_density,
    texture,
)
from tests import naive

kernels = settings(max_examples=40)
sides = st.integers(1, 14)
seeds = st.integers(0, 2**32 - 1)


def scans() -> st.SearchStrategy[Scan]:
    shapes = st.tuples(sides, sides, st.integers(3, 4))
    return st.sampled_from([np.uint8, np.uint16]).flatmap(lambda kind: shapes.flatmap(lambda s: arrays(kind, s)))


@kernels
@given(scan=scans(), colours=st.sampled_from([1, 3]), tone=st.sampled_from([Tone(), Tone(dirt="brightens")]))
def test_mean_density_is_that_of_the_slow_twin(scan: Scan, colours: int, tone: Tone) -> None:
    maximum = int(np.iinfo(scan.dtype).max)
    density, known = mean_density(scan, colours, tone, maximum)
    slow, slow_known = naive.mean_density(scan, colours, density_table(tone, maximum))
    np.testing.assert_allclose(density, slow, atol=1e-5)
    np.testing.assert_array_equal(known, slow_known)


def test_a_clipped_extra_sample_does_not_matter() -> None:
    scan = np.full((2, 2, 4), 100, np.uint8)
    scan[..., 3] = 255
    assert (mean_density(scan, 3, Tone(), 255)[1] == EXACTLY).all()
    with pytest.raises(ValueError, match="expected"):
        mean_density(scan[..., 0], 1, Tone(), 255)


@kernels
@given(shape=st.tuples(sides, sides), seed=seeds)
def test_block_means_are_those_of_the_slow_twin(shape: tuple[int, int], seed: int) -> None:
    """Seen through a background too narrow to blur: its Gaussian is one block wide."""
    density = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    blocks = background(block_means(density), ResidualParams(background_px=0.5))
    np.testing.assert_allclose(blocks, naive.block_means(density, BLOCK_PX), atol=1e-5)


def test_the_background_of_a_step_is_gaussian() -> None:
    density = np.zeros((8, 400), np.float32)
    density[:, 200:] = 1
    blocks = background(block_means(density), ResidualParams(background_px=12))
    centres = np.arange(100) * BLOCK_PX + (BLOCK_PX - 1) / 2
    assert blocks.shape == (2, 100)
    slope = np.gradient(blocks[0].astype(float), BLOCK_PX)
    middle = (slope * centres).sum() / slope.sum()
    deviation = np.sqrt((slope * (centres - middle) ** 2).sum() / slope.sum())
    assert middle == pytest.approx(199.5, abs=0.01)
    assert deviation == pytest.approx(12, rel=0.05)
    with pytest.raises(ValueError, match="density"):
        block_means(density.astype(np.float64))


@kernels
@given(shape=st.tuples(sides, sides), seed=seeds)
def test_codes_are_off_by_no_more_than_their_rounding(shape: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    density = rng.normal(0, 0.5, shape).astype(np.float32)
    known = rng.choice([NOT_AT_ALL, EXACTLY, AT_LEAST], shape, p=[0.2, 0.5, 0.3]).astype(np.uint8)
    blocks = rng.normal(0, 0.1, naive.block_means(density, BLOCK_PX).shape).astype(np.float32)
    codes = encode(density, known, blocks)
    decoded, decoded_known = decode(codes)
    for y, x in np.ndindex(shape):
        stands_out = min(max(float(density[y, x]) - naive.between_blocks(blocks, BLOCK_PX, y, x), -1.6), 1.6)
        told = known[y, x] == EXACTLY or (known[y, x] == AT_LEAST and stands_out >= 0.1)
        assert decoded_known[y, x] == told
        if not told:
            assert codes[y, x] == UNKNOWN
            assert decoded[y, x] == 0
            continue
        # Half a step: .5 mD near zero, 1.9 % of the value far from it; and half of one of the table.
        assert abs(decoded[y, x] - stands_out) <= np.hypot(0.03, stands_out) * 0.0186 + 0.000026


def test_codes_keep_order_and_sign() -> None:
    values, known = decode(np.arange(-127, 128).astype(np.int8)[None])
    assert known.all()
    assert (np.diff(values) > 0).all()
    np.testing.assert_array_equal(values, -values[:, ::-1])
    assert values[0, -1] == pytest.approx(1.6)


@kernels
@given(shape=st.tuples(sides, sides), size=st.integers(1, 4), seed=seeds)
def test_squares_are_decoded_to_their_means(shape: tuple[int, int], size: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(-128, -110, shape, np.int8)
    values, known = decode(codes)
    means, sure = decode(codes, size)
    rows, columns = shape[0] // size, shape[1] // size
    assert means.shape == sure.shape == (rows, columns)
    for y, x in np.ndindex(rows, columns):
        square = np.s_[y * size : (y + 1) * size, x * size : (x + 1) * size]
        assert means[y, x] == pytest.approx(values[square].mean(), abs=1e-6)
        assert sure[y, x] == known[square].all()


def halo(params: ResidualParams) -> int:
    return params.reach_blocks * 4


def test_a_plain_ramp_has_no_residual() -> None:
    density = np.broadcast_to(np.linspace(0, 1, 400, dtype=np.float32), (200, 400)).copy()
    params = ResidualParams()
    codes = encode(density, np.ones(density.shape, np.bool_), background(block_means(density), params))
    inside = decode(codes)[0][:, halo(params) : -halo(params)]
    assert np.abs(inside).max() < 0.0006


def test_a_window_with_its_halo_gives_what_the_whole_gives() -> None:
    density = np.random.default_rng(2).normal(0.5, 0.1, (300, 90)).astype(np.float32)
    known = np.full(density.shape, EXACTLY, np.uint8)
    params = ResidualParams()
    whole = encode(density, known, background(block_means(density), params))
    low, high = 128 - halo(params), 160 + halo(params)
    part = encode(density[low:high], known[low:high], background(block_means(density[low:high]), params))
    np.testing.assert_array_equal(part[halo(params) : -halo(params)], whole[128:160])


@pytest.mark.parametrize("rows", [(0, 96), (128, 160), (270, 300)])
def test_blocks_may_begin_above_the_rows(rows: tuple[int, int]) -> None:
    density = np.random.default_rng(3).normal(0.5, 0.1, (300, 90)).astype(np.float32)
    known = np.full(density.shape, EXACTLY, np.uint8)
    blocks = background(block_means(density), ResidualParams())
    low, high = rows
    start = max(low // BLOCK_PX - 2, 0)
    part = encode(density[low:high], known[low:high], blocks[start:], low - start * BLOCK_PX)
    np.testing.assert_array_equal(part, encode(density, known, blocks)[low:high])


@pytest.mark.parametrize(("size", "grown"), [((480, 640), 12), ((1200, 1800), 12), ((2700, 1800), 18), ((9, 9000), 40)])
def test_the_background_grows_with_the_frame(size: tuple[int, int], grown: float) -> None:
    assert ResidualParams(background_px=12).on(*size) == ResidualParams(grown)


def test_a_wide_background_stays_as_wide() -> None:
    assert ResidualParams(background_px=60).on(9000, 9000) == ResidualParams(60)


@kernels
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    share=st.sampled_from([0.0, 0.05, 0.9]),
    seed=st.integers(0, 99),
)
def test_texture_is_that_of_the_box_around_each_pixel(height: int, width: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    residual = rng.normal(0, 0.05, (height, width)).astype(np.float32)
    trusted = rng.random(residual.shape) < share
    params = ResidualParams(background_px=4)
    expected = naive.texture(residual, trusted, BLOCK_PX, params.texture_px // BLOCK_PX - 1)
    np.testing.assert_allclose(texture(residual, trusted, params), expected, rtol=1e-4)


def test_texture_is_the_deviation_of_grain() -> None:
    grain = np.random.default_rng(1).normal(0, 0.05, (200, 200)).astype(np.float32)
    busy = texture(grain, np.ones(grain.shape, np.bool_), ResidualParams())
    assert np.median(busy) == pytest.approx(0.053, rel=0.02)


def test_texture_asks_only_the_trusted() -> None:
    residual = np.full((200, 400), 0.04, np.float32)
    residual[:, ::2] = 5
    trusted = np.zeros(residual.shape, np.bool_)
    trusted[:, 1::2] = True
    trusted[:, 200:] = False
    busy = texture(residual, trusted, ResidualParams())
    np.testing.assert_allclose(busy[:, :200], 0.053, rtol=1e-5)
    np.testing.assert_array_equal(busy[:, 225:], 10)
