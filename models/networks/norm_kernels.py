"""Kernels for a GPU, in Triton: instance normalisation, activation and padding in one pass each way.

Maps are channels last, [B, H, W, C] in memory. A program computes a block of channels of one image. With ``PARTS``
above 1 it computes one of ``PARTS`` parts of the positions; `moments_kernel` and `sums_kernel` run before, and leave
the sums of each part. Sums are float32, in a fixed order.
"""

import triton
import triton.language as tl

REUSABLE = tuple(map(int, triton.__version__.split(".")[:2])) >= (3, 3)
"""A compiled kernel takes the arguments of its function; before Triton 3.3 it takes no constants."""


@triton.jit
def _moments(x, first, last, channels, real, C, P: tl.constexpr, K: tl.constexpr):
    """Compute the mean [K] of the positions ``first`` to ``last``, and the sum of their squared distances from it.

    Each of P lanes updates its own (Welford's algorithm), which stays exact for maps that are nearly flat.
    """
    mean = tl.zeros([P, K], tl.float32)
    spread = tl.zeros([P, K], tl.float32)
    count = tl.zeros([P, 1], tl.float32)
    for start in range(first, last, P):
        position = start + tl.arange(0, P)[:, None]
        inside = position < last
        value = tl.load(x + position * C + channels, mask=inside & real, other=0.0).to(tl.float32)
        count += tl.where(inside, 1.0, 0.0)
        distance = tl.where(inside, value - mean, 0.0)
        mean += distance / tl.maximum(count, 1.0)
        spread += distance * tl.where(inside, value - mean, 0.0)
    return _joined(mean, spread, count, last - first)


@triton.jit
def _joined(mean, spread, count, total):
    """Join means, sums of squared distances and counts along the first axis."""
    centre = tl.sum(count * mean, 0) / total
    distance = mean - centre[None, :]
    return centre, tl.sum(spread + count * distance * distance, 0)


@triton.jit
def _counts(size, PARTS: tl.constexpr):
    """Count the positions of each part [PARTS, 1] of ``size``, and those before it."""
    each = tl.cdiv(size, PARTS)
    first = tl.arange(0, PARTS)[:, None] * each
    return tl.maximum(tl.minimum(size - first, each), 0).to(tl.float32)


@triton.jit
def moments_kernel(x, moments, size, C, PARTS: tl.constexpr, P: tl.constexpr, K: tl.constexpr):
    """Compute the mean and sum of squared distances of each part, [B, 2, PARTS, C]."""
    image, part = tl.program_id(0), tl.program_id(2)
    channels = (tl.program_id(1) * K + tl.arange(0, K))[None, :]
    each = tl.cdiv(size, PARTS)
    first = part * each
    mean, spread = _moments(
        x + image.to(tl.int64) * size * C, first, tl.minimum(first + each, size), channels, channels < C, C, P, K)
    at = moments + (image * 2 * PARTS + part) * C + channels
    tl.store(at, mean[None, :], mask=channels < C)
    tl.store(at + PARTS * C, spread[None, :], mask=channels < C)


@triton.jit
def forward_kernel(
    x, residual, y, statistics, moments, height, width, C, eps, slope,
    NORM: tl.constexpr, RESIDUAL: tl.constexpr, ACTIVATION: tl.constexpr, BORDER: tl.constexpr, REPEAT: tl.constexpr,
    PARTS: tl.constexpr, P: tl.constexpr, K: tl.constexpr,
):
    """Compute y = pad(activation((x - mean) * scale) + residual), and means and scales [B, 2, C]."""
    image, part = tl.program_id(0), tl.program_id(2)
    channels = (tl.program_id(1) * K + tl.arange(0, K))[None, :]
    real = channels < C
    size = height * width
    x += image.to(tl.int64) * size * C
    residual += image.to(tl.int64) * size * C
    if NORM:
        if PARTS == 1:
            mean, spread = _moments(x, 0, size, channels, real, C, P, K)
        else:
            at = moments + (image * 2 * PARTS + tl.arange(0, PARTS)[:, None]) * C + channels
            mean, spread = _joined(tl.load(at, mask=real, other=0.0), tl.load(at + PARTS * C, mask=real, other=0.0),
                                   _counts(size, PARTS), size)
        scale = 1 / tl.sqrt(spread / size + eps)
        if part == 0:
            tl.store(statistics + image * 2 * C + channels, mean[None, :], mask=real)
            tl.store(statistics + (image * 2 + 1) * C + channels, scale[None, :], mask=real)
    wide = width + 2 * BORDER
    total = (height + 2 * BORDER) * wide
    y += image.to(tl.int64) * total * C
    each = tl.cdiv(total, PARTS)
    for start in range(part * each, tl.minimum(part * each + each, total), P):
        position = start + tl.arange(0, P)[:, None]
        inside = (position < tl.minimum(part * each + each, total)) & real
        source = _mirrored(position // wide - BORDER, height, REPEAT) * width + (
            _mirrored(position % wide - BORDER, width, REPEAT))
        value = tl.load(x + source * C + channels, mask=inside, other=0.0).to(tl.float32)
        if NORM:
            value = (value - mean[None, :]) * scale[None, :]
        if ACTIVATION:
            value = tl.where(value > 0, value, value * slope)
        if RESIDUAL:
            value += tl.load(residual + source * C + channels, mask=inside, other=0.0).to(tl.float32)
        tl.store(y + position * C + channels, value.to(y.dtype.element_ty), mask=inside)


@triton.jit
def _mirrored(at, side, REPEAT: tl.constexpr):
    """Return the row or column that one outside of the map repeats, or mirrors."""
    if REPEAT:
        at = tl.minimum(tl.maximum(at, 0), side - 1)
    else:
        at = tl.abs(at)
        at = side - 1 - tl.abs(side - 1 - at)
    return at


@triton.jit
def _gradient(g, position, channels, inside, height, width, C, BORDER: tl.constexpr, REPEAT: tl.constexpr):
    """Sum the gradients at the places of the padded map that hold a position: one, two or four."""
    row, column, wide = position // width, position % width, width + 2 * BORDER
    value = tl.load(g + ((row + BORDER) * wide + column + BORDER) * C + channels, mask=inside, other=0.0).to(tl.float32)
    if BORDER:
        second_row, has_row = _twin(row, height, BORDER, REPEAT)
        second, has = _twin(column, width, BORDER, REPEAT)
        value += tl.load(g + (second_row * wide + column + BORDER) * C + channels, mask=inside & has_row, other=0.0)
        value += tl.load(g + ((row + BORDER) * wide + second) * C + channels, mask=inside & has, other=0.0)
        value += tl.load(g + (second_row * wide + second) * C + channels, mask=inside & has_row & has, other=0.0)
    return value


@triton.jit
def _twin(at, side, BORDER: tl.constexpr, REPEAT: tl.constexpr):
    """Find the place in the border of the padded map that repeats a row or column; return whether there is one."""
    if REPEAT:  # of one pixel
        low, high = at == 0, at == side - 1
        twin = tl.where(low, 0, side + 1)
    else:
        low, high = (at >= 1) & (at <= BORDER), (at >= side - 1 - BORDER) & (at <= side - 2)
        twin = tl.where(low, BORDER - at, BORDER + 2 * (side - 1) - at)
    return twin, low | high


@triton.jit
def _slopes(x, g, position, mean, scale, channels, inside, height, width, C, slope,
            ACTIVATION: tl.constexpr, BORDER: tl.constexpr, REPEAT: tl.constexpr):
    """Compute the normalised values of some positions, and the gradients that reach them."""
    value = (tl.load(x + position * C + channels, mask=inside, other=0.0).to(tl.float32) - mean) * scale
    gradient = _gradient(g, position, channels, inside, height, width, C, BORDER, REPEAT)
    if ACTIVATION:
        gradient = tl.where(value > 0, gradient, gradient * slope)
    return tl.where(inside, value, 0.0), gradient


@triton.jit
def _sums(x, g, first, last, mean, scale, channels, real, height, width, C, slope,
          ACTIVATION: tl.constexpr, BORDER: tl.constexpr, REPEAT: tl.constexpr, P: tl.constexpr, K: tl.constexpr):
    """Sum over positions the gradients [K], and the gradients times the normalised values."""
    total = tl.zeros([P, K], tl.float32)
    product = tl.zeros([P, K], tl.float32)
    for start in range(first, last, P):
        position = start + tl.arange(0, P)[:, None]
        value, gradient = _slopes(x, g, position, mean, scale, channels, (position < last) & real, height, width, C,
                                  slope, ACTIVATION, BORDER, REPEAT)
        total += gradient
        product += gradient * value
    return tl.sum(total, 0), tl.sum(product, 0)


@triton.jit
def sums_kernel(
    x, g, statistics, sums, height, width, C, slope, ACTIVATION: tl.constexpr, BORDER: tl.constexpr,
    REPEAT: tl.constexpr, PARTS: tl.constexpr, P: tl.constexpr, K: tl.constexpr,
):
    """Compute `_sums` of each part, [B, 2, PARTS, C]."""
    image, part = tl.program_id(0), tl.program_id(2)
    channels = (tl.program_id(1) * K + tl.arange(0, K))[None, :]
    real, size = channels < C, height * width
    mean = tl.load(statistics + image * 2 * C + channels, mask=real, other=0.0)
    scale = tl.load(statistics + (image * 2 + 1) * C + channels, mask=real, other=0.0)
    each = tl.cdiv(size, PARTS)
    total, product = _sums(
        x + image.to(tl.int64) * size * C,
        g + image.to(tl.int64) * (height + 2 * BORDER) * (width + 2 * BORDER) * C, part * each,
        tl.minimum(part * each + each, size), mean, scale, channels, real, height, width, C, slope, ACTIVATION, BORDER,
        REPEAT, P, K)
    at = sums + (image * 2 * PARTS + part) * C + channels
    tl.store(at, total[None, :], mask=real)
    tl.store(at + PARTS * C, product[None, :], mask=real)


@triton.jit
def backward_kernel(
    x, g, more, dx, statistics, sums, height, width, C, slope,
    NORM: tl.constexpr, MORE: tl.constexpr, ACTIVATION: tl.constexpr, BORDER: tl.constexpr, REPEAT: tl.constexpr,
    PARTS: tl.constexpr, P: tl.constexpr, K: tl.constexpr,
):
    """Compute the gradient of ``x``, of that of ``y``; without ``NORM`` that of the padding, plus ``more``."""
    image, part = tl.program_id(0), tl.program_id(2)
    channels = (tl.program_id(1) * K + tl.arange(0, K))[None, :]
    real, size = channels < C, height * width
    x += image.to(tl.int64) * size * C
    dx += image.to(tl.int64) * size * C
    more += image.to(tl.int64) * size * C
    g += image.to(tl.int64) * (height + 2 * BORDER) * (width + 2 * BORDER) * C
    if NORM:
        mean = tl.load(statistics + image * 2 * C + channels, mask=real, other=0.0)
        scale = tl.load(statistics + (image * 2 + 1) * C + channels, mask=real, other=0.0)
        if PARTS == 1:
            total, product = _sums(x, g, 0, size, mean, scale, channels, real, height, width, C, slope, ACTIVATION,
                                   BORDER, REPEAT, P, K)
        else:
            at = sums + (image * 2 * PARTS + tl.arange(0, PARTS)[:, None]) * C + channels
            total = tl.sum(tl.load(at, mask=real, other=0.0), 0)
            product = tl.sum(tl.load(at + PARTS * C, mask=real, other=0.0), 0)
        total, product = (total / size)[None, :], (product / size)[None, :]
    each = tl.cdiv(size, PARTS)
    last = tl.minimum(part * each + each, size)
    for start in range(part * each, last, P):
        position = start + tl.arange(0, P)[:, None]
        inside = (position < last) & real
        if NORM:
            value, gradient = _slopes(x, g, position, mean, scale, channels, inside, height, width, C, slope,
                                      ACTIVATION, BORDER, REPEAT)
            gradient = scale * (gradient - total - value * product)
        else:
            gradient = _gradient(g, position, channels, inside, height, width, C, BORDER, REPEAT)
        if MORE:
            gradient += tl.load(more + position * C + channels, mask=inside, other=0.0).to(tl.float32)
        tl.store(dx + position * C + channels, gradient.to(dx.dtype.element_ty), mask=inside)
