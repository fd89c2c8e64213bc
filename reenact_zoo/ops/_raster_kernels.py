"""Compiled CPU kernels of ``ops.rasterize``; no state, no allocation, no GIL.

Positions are snapped to 1/SUBPIXEL of a pixel, so that edge functions are integers. Held in float64 they stay below
2**53 and are exact: a sample on a shared edge belongs to exactly one of its two triangles.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from reenact_zoo.ops.rasterize import MAX_PX, SUBPIXEL

Array = NDArray[np.generic]


@njit(cache=True, nogil=True)
def snap(points, perspective, out):  # type: ignore[no-untyped-def]
    """(V, 3) x_px, y_px, depth → out (V, 3) float64: snapped x, y; nearness q (larger is nearer, linear on screen).

    A vertex that cannot be drawn (behind the camera, not finite, absurdly far outside) gets q = NaN.
    """
    for v in range(points.shape[0]):
        x, y, z = np.float64(points[v, 0]), np.float64(points[v, 1]), np.float64(points[v, 2])
        good = abs(x) <= MAX_PX and abs(y) <= MAX_PX and math.isfinite(z) and (z > 0.0 or not perspective)
        out[v, 0] = np.rint(x * SUBPIXEL) if good else 0.0
        out[v, 1] = np.rint(y * SUBPIXEL) if good else 0.0
        if good:
            out[v, 2] = 1.0 / z if perspective else -z
        else:
            out[v, 2] = np.nan


@njit(cache=True, nogil=True)
def visibility(snapped, triangles, cull, top, end, face, nearest):  # type: ignore[no-untyped-def]
    """Draw into rows top … end-1 of ``face`` (H, W) int32 (-1 empty) and of the z-buffer ``nearest`` (H, W) float64."""
    width = face.shape[1]
    for y in range(top, end):
        for x in range(width):
            face[y, x] = -1
            nearest[y, x] = -np.inf
    for f in range(triangles.shape[0]):
        i, j, k = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        x0, y0, x1, y1, x2, y2 = (
            snapped[i, 0],
            snapped[i, 1],
            snapped[j, 0],
            snapped[j, 1],
            snapped[k, 0],
            snapped[k, 1],
        )
        area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
        if area == 0.0 or (cull and area > 0.0):  # y points down: counter-clockwise seen from outside is negative
            continue
        first = max(top, math.ceil(min(y0, y1, y2) / SUBPIXEL))
        last = min(end - 1, math.floor(max(y0, y1, y2) / SUBPIXEL))
        if first > last:
            continue
        left = max(0, math.ceil(min(x0, x1, x2) / SUBPIXEL))
        right = min(width - 1, math.floor(max(x0, x1, x2) / SUBPIXEL))
        if left > right:
            continue
        q0, q1, q2 = snapped[i, 2], snapped[j, 2], snapped[k, 2]
        if not math.isfinite(q0 + q1 + q2):
            continue
        s = 1.0 if area > 0.0 else -1.0
        area *= s
        q0, q1, q2 = q0 / area, q1 / area, q2 / area
        # edge function opposite vertex 0, 1, 2 and its step along x; the sign makes the inside positive
        a0, b0 = -s * (y2 - y1), s * (x2 - x1)
        a1, b1 = -s * (y0 - y2), s * (x0 - x2)
        a2, b2 = -s * (y1 - y0), s * (x1 - x0)
        # top-left rule: a sample exactly on an edge belongs to the triangle for which the edge is a left or a top one
        least0 = 0.0 if a0 > 0.0 or (a0 == 0.0 and b0 > 0.0) else 1.0
        least1 = 0.0 if a1 > 0.0 or (a1 == 0.0 and b1 > 0.0) else 1.0
        least2 = 0.0 if a2 > 0.0 or (a2 == 0.0 and b2 > 0.0) else 1.0
        px = np.float64(left) * SUBPIXEL
        for y in range(first, last + 1):
            py = np.float64(y) * SUBPIXEL
            e0 = a0 * (px - x1) + b0 * (py - y1)
            e1 = a1 * (px - x2) + b1 * (py - y2)
            e2 = a2 * (px - x0) + b2 * (py - y0)
            for x in range(left, right + 1):
                if e0 >= least0 and e1 >= least1 and e2 >= least2:
                    q = e0 * q0 + e1 * q1 + e2 * q2
                    if q > nearest[y, x]:
                        nearest[y, x] = q
                        face[y, x] = f
                e0 += a0 * SUBPIXEL
                e1 += a1 * SUBPIXEL
                e2 += a2 * SUBPIXEL


@njit(cache=True, nogil=True, inline="always")
def weights(snapped, i, j, k, px, py, perspective):  # type: ignore[no-untyped-def]
    """Barycentric weights (float64, sum 1) of the snapped point (px, py) in triangle i, j, k."""
    x0, y0, x1, y1, x2, y2 = snapped[i, 0], snapped[i, 1], snapped[j, 0], snapped[j, 1], snapped[k, 0], snapped[k, 1]
    w0 = (x2 - x1) * (py - y1) - (y2 - y1) * (px - x1)
    w1 = (x0 - x2) * (py - y2) - (y0 - y2) * (px - x2)
    w2 = (x1 - x0) * (py - y0) - (y1 - y0) * (px - x0)
    if perspective:
        w0, w1, w2 = w0 * snapped[i, 2], w1 * snapped[j, 2], w2 * snapped[k, 2]
    inverse = 1.0 / (w0 + w1 + w2)
    return w0 * inverse, w1 * inverse, w2 * inverse


@njit(cache=True, nogil=True)
def barycentrics(snapped, triangles, face, perspective, top, end, out):  # type: ignore[no-untyped-def]
    """Fill rows top … end-1 of ``out`` (H, W, 3) float32; zeros where ``face`` (H, W) is empty."""
    for y in range(top, end):
        for x in range(face.shape[1]):
            f = face[y, x]
            if f < 0:
                out[y, x, 0] = 0.0
                out[y, x, 1] = 0.0
                out[y, x, 2] = 0.0
                continue
            w = weights(
                snapped,
                triangles[f, 0],
                triangles[f, 1],
                triangles[f, 2],
                np.float64(x) * SUBPIXEL,
                np.float64(y) * SUBPIXEL,
                perspective,
            )
            out[y, x, 0] = w[0]
            out[y, x, 1] = w[1]
            out[y, x, 2] = w[2]
