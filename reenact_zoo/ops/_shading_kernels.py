"""Compiled CPU kernels of ``ops.shading`` and ``ops.occlusion``: the same formulas, in one pass over the samples."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from reenact_zoo.ops._raster_kernels import visibility, weights
from reenact_zoo.ops.rasterize import SUBPIXEL
from reenact_zoo.ops.shading import C0, C1, C2, C20, DAMP_1, DAMP_2, DARKEST, F0, GAIN_0, LEAST_FACING, SHOULDER

# columns of the per-vertex table
NORMAL, POSITION, OCCLUSION, SPECULAR, GLOSS, SHEEN, SUBSURFACE, COLUMNS = 0, 3, 6, 7, 8, 9, 10, 11


@njit(cache=True, nogil=True)
def vertex_normals(vertices, triangles, out):  # type: ignore[no-untyped-def]
    """(V, 3), (F, 3) → out (V, >= 3): area-weighted unit normals in its first three columns."""
    for v in range(out.shape[0]):
        out[v, 0] = 0.0
        out[v, 1] = 0.0
        out[v, 2] = 0.0
    for f in range(triangles.shape[0]):
        i, j, k = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        ax, ay, az = vertices[j, 0] - vertices[i, 0], vertices[j, 1] - vertices[i, 1], vertices[j, 2] - vertices[i, 2]
        bx, by, bz = vertices[k, 0] - vertices[i, 0], vertices[k, 1] - vertices[i, 1], vertices[k, 2] - vertices[i, 2]
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        for v in (i, j, k):
            out[v, 0] += nx
            out[v, 1] += ny
            out[v, 2] += nz
    for v in range(out.shape[0]):
        length = math.sqrt(out[v, 0] ** 2 + out[v, 1] ** 2 + out[v, 2] ** 2)
        scale = 1.0 / max(length, 1e-12)
        out[v, 0] *= scale
        out[v, 1] *= scale
        out[v, 2] *= scale


@njit(cache=True, nogil=True, inline="always")
def _lobe(cosine, exponent):  # type: ignore[no-untyped-def]
    half = 0.5 * exponent
    fraction = cosine / max(half - half * cosine + cosine, 1e-6)
    return (exponent + 2.0) * 0.125 * fraction * fraction


@njit(cache=True, nogil=True, inline="always")
def _display(value):  # type: ignore[no-untyped-def]
    value = math.sqrt(max(value, 1e-8))
    if value <= SHOULDER:
        return value
    over = (value - SHOULDER) / (1.0 - SHOULDER)
    return SHOULDER + (1.0 - SHOULDER) * over / (1.0 + over)


@njit(cache=True, nogil=True)
def shade_rows(  # type: ignore[no-untyped-def]
    snapped,
    triangles,
    face,
    perspective,
    table,
    uv,
    texture,
    light,
    key,
    key_colour,
    camera_z,
    samples,
    top,
    end,
    image,
    alpha,
):
    """Shade and resolve output rows top … end-1.

    ``face`` holds ``samples`` × ``samples`` samples a pixel; ``table`` (V, COLUMNS); ``uv`` (F, 3, 2); ``texture``
    (T, T, 3), or (T, T, 4) with a height in the unit of the positions; ``light`` (9, 3); ``key`` (3,). ``camera_z`` is
    the camera's place on the z axis, infinite for a parallel projection. Writes ``image`` (3, H, W), premultiplied, and
    ``alpha`` (H, W).
    """
    height, width = texture.shape[0], texture.shape[1]
    share = 1.0 / (samples * samples)
    relief = texture.shape[2] > 3
    a = np.empty(COLUMNS, np.float64)
    colour = np.empty(3, np.float64)
    for y in range(top, end):
        for x in range(alpha.shape[1]):
            red, green, blue, seen = 0.0, 0.0, 0.0, 0
            for sy in range(y * samples, (y + 1) * samples):
                for sx in range(x * samples, (x + 1) * samples):
                    f = face[sy, sx]
                    if f < 0:
                        continue
                    seen += 1
                    i, j, k = triangles[f, 0], triangles[f, 1], triangles[f, 2]
                    w0, w1, w2 = weights(snapped, i, j, k, sx * SUBPIXEL, sy * SUBPIXEL, perspective)
                    for c in range(COLUMNS):
                        a[c] = w0 * table[i, c] + w1 * table[j, c] + w2 * table[k, c]
                    u = (w0 * uv[f, 0, 0] + w1 * uv[f, 1, 0] + w2 * uv[f, 2, 0]) * width - 0.5
                    v = (w0 * uv[f, 0, 1] + w1 * uv[f, 1, 1] + w2 * uv[f, 2, 1]) * height - 0.5
                    u, v = min(max(u, 0.0), width - 1.0), min(max(v, 0.0), height - 1.0)
                    column, row = max(min(int(u), width - 2), 0), max(min(int(v), height - 2), 0)
                    fu, fv = u - column, v - row
                    right, below = min(column + 1, width - 1), min(row + 1, height - 1)
                    for c in range(3):
                        upper = texture[row, column, c] * (1.0 - fu) + texture[row, right, c] * fu
                        lower = texture[below, column, c] * (1.0 - fu) + texture[below, right, c] * fu
                        colour[c] = upper * (1.0 - fv) + lower * fv
                    if relief:
                        h00, h01 = texture[row, column, 3], texture[row, right, 3]
                        h10, h11 = texture[below, column, 3], texture[below, right, 3]
                        across = width * ((h01 - h00) * (1.0 - fv) + (h11 - h10) * fv)
                        down = height * ((h10 - h00) * (1.0 - fu) + (h11 - h01) * fu)
                        if across != 0.0 or down != 0.0:
                            _bump(a, table, uv, f, i, j, k, across, down)
                    _shade_sample(a, light, key, key_colour, camera_z, colour)
                    red += colour[0]
                    green += colour[1]
                    blue += colour[2]
            image[0, y, x] = red * share
            image[1, y, x] = green * share
            image[2, y, x] = blue * share
            alpha[y, x] = seen * share


@njit(cache=True, nogil=True)
def _bump(a, table, uv, f, i, j, k, across, down):  # type: ignore[no-untyped-def]
    """``ops.shading.bumped`` on the normal of ``a``, in place; the result is not of unit length."""
    p = POSITION
    nx, ny, nz = a[NORMAL], a[NORMAL + 1], a[NORMAL + 2]
    scale = 1.0 / max(math.sqrt(nx * nx + ny * ny + nz * nz), 1e-12)
    nx, ny, nz = nx * scale, ny * scale, nz * scale
    ax, ay, az = table[j, p] - table[i, p], table[j, p + 1] - table[i, p + 1], table[j, p + 2] - table[i, p + 2]
    bx, by, bz = table[k, p] - table[i, p], table[k, p + 1] - table[i, p + 1], table[k, p + 2] - table[i, p + 2]
    rise_1 = (uv[f, 1, 0] - uv[f, 0, 0]) * across + (uv[f, 1, 1] - uv[f, 0, 1]) * down
    rise_2 = (uv[f, 2, 0] - uv[f, 0, 0]) * across + (uv[f, 2, 1] - uv[f, 0, 1]) * down
    px, py, pz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    area = max(nx * px + ny * py + nz * pz, LEAST_FACING * math.sqrt(px * px + py * py + pz * pz))
    r1, r2 = rise_1 / max(area, 1e-9), rise_2 / max(area, 1e-9)
    a[NORMAL] = nx - r1 * (by * nz - bz * ny) - r2 * (ny * az - nz * ay)
    a[NORMAL + 1] = ny - r1 * (bz * nx - bx * nz) - r2 * (nz * ax - nx * az)
    a[NORMAL + 2] = nz - r1 * (bx * ny - by * nx) - r2 * (nx * ay - ny * ax)


@njit(cache=True, nogil=True, inline="always")
def _shade_sample(a, light, key, key_colour, camera_z, colour):  # type: ignore[no-untyped-def]
    """Albedo in ``colour`` → shaded display value, in place; ``a`` is one interpolated row of the table."""
    nx, ny, nz = a[NORMAL], a[NORMAL + 1], a[NORMAL + 2]
    scale = 1.0 / max(math.sqrt(nx * nx + ny * ny + nz * nz), 1e-12)
    nx, ny, nz = nx * scale, ny * scale, nz * scale
    vx, vy, vz = 0.0, 0.0, 1.0
    if math.isfinite(camera_z):
        vx, vy, vz = -a[POSITION], -a[POSITION + 1], camera_z - a[POSITION + 2]
        scale = 1.0 / math.sqrt(vx * vx + vy * vy + vz * vz)
        vx, vy, vz = vx * scale, vy * scale, vz * scale
    occlusion, subsurface = a[OCCLUSION], a[SUBSURFACE]
    hx, hy, hz = key[0] + vx + 1e-6, key[1] + vy + 1e-6, key[2] + vz + 1e-6
    scale = 1.0 / max(math.sqrt(hx * hx + hy * hy + hz * hz), 1e-12)
    hx, hy, hz = hx * scale, hy * scale, hz * scale
    nh = min(max(nx * hx + ny * hy + nz * hz, 0.0), 1.0)
    nl = min(max(nx * key[0] + ny * key[1] + nz * key[2], 0.0), 1.0)
    vh = min(max(vx * hx + vy * hy + vz * hz, 0.0), 1.0)
    nv = min(max(nx * vx + ny * vy + nz * vz, 0.0), 1.0)
    m = 1.0 - vh
    fresnel = F0 + (1.0 - F0) * m * m * m * m * m
    gloss = a[GLOSS]
    lobes = 0.5 * _lobe(nh, gloss) + 0.5 * _lobe(nh, 0.4 * gloss + 1.0)
    strength = a[SPECULAR] * occlusion * occlusion * fresnel * lobes * nl
    grazing = (1.0 - nv) * (1.0 - nv)
    rim = a[SHEEN] * grazing * grazing * occlusion
    b1, b2, b3 = C1 * ny, C1 * nz, C1 * nx
    b4, b5, b6 = C2 * nx * ny, C2 * ny * nz, C20 * (3.0 * nz * nz - 1.0)
    b7, b8 = C2 * nx * nz, 0.5 * C2 * (nx * nx - ny * ny)
    for c in range(3):
        first = b1 * light[1, c] + b2 * light[2, c] + b3 * light[3, c]
        second = b4 * light[4, c] + b5 * light[5, c] + b6 * light[6, c] + b7 * light[7, c] + b8 * light[8, c]
        received = (
            (1.0 + subsurface * GAIN_0[c]) * C0 * light[0, c]
            + (1.0 - subsurface * DAMP_1[c]) * first
            + (1.0 - subsurface * DAMP_2[c]) * second
        )
        received = max(received, DARKEST)
        base = colour[c] * colour[c]
        bounced = (2.0404 * base - 0.3324) * occlusion + (-4.7951 * base + 0.6417)
        bounced = (bounced * occlusion + (2.7552 * base + 0.6903)) * occlusion
        colour[c] = _display(base * received * max(occlusion, bounced) + rim * received + strength * key_colour[c])


@njit(cache=True, nogil=True)
def count_classes(face, classes, samples, top, end, out):  # type: ignore[no-untyped-def]
    """Share of each class in every pixel: ``face`` supersampled, ``classes`` (F,), out (C, H, W); class 0 is empty."""
    share = 1.0 / (samples * samples)
    for y in range(top, end):
        for x in range(out.shape[2]):
            for sy in range(y * samples, (y + 1) * samples):
                for sx in range(x * samples, (x + 1) * samples):
                    f = face[sy, sx]
                    out[classes[f] if f >= 0 else 0, y, x] += share


@njit(cache=True, nogil=True)
def occlude(vertices, normals, triangles, frames, radiance, resolution, first, last, lit, total):  # type: ignore[no-untyped-def]
    """Add the light of directions first … last-1 to ``lit`` and ``total`` (V,); formulas in ``ops.occlusion``.

    ``frames`` (N, 3, 3): rows right, up and towards the light; ``radiance`` (N,).
    """
    count = vertices.shape[0]
    snapped = np.empty((count, 3), np.float64)
    face = np.empty((resolution, resolution), np.int32)
    depth = np.empty((resolution, resolution), np.float64)
    for d in range(first, last):
        if radiance[d] <= 0.0:
            continue
        frame = frames[d]
        low_x, low_y, high_x, high_y = np.inf, np.inf, -np.inf, -np.inf
        for v in range(count):
            x, y, z = vertices[v, 0], vertices[v, 1], vertices[v, 2]
            snapped[v, 0] = frame[0, 0] * x + frame[0, 1] * y + frame[0, 2] * z
            snapped[v, 1] = -(frame[1, 0] * x + frame[1, 1] * y + frame[1, 2] * z)
            snapped[v, 2] = frame[2, 0] * x + frame[2, 1] * y + frame[2, 2] * z
            low_x, high_x = min(low_x, snapped[v, 0]), max(high_x, snapped[v, 0])
            low_y, high_y = min(low_y, snapped[v, 1]), max(high_y, snapped[v, 1])
        texel = max(max(high_x - low_x, high_y - low_y), 1e-6) / (resolution - 3)
        for v in range(count):
            snapped[v, 0] = np.rint(((snapped[v, 0] - low_x) / texel + 1.0) * SUBPIXEL)
            snapped[v, 1] = np.rint(((snapped[v, 1] - low_y) / texel + 1.0) * SUBPIXEL)
        visibility(snapped, triangles, True, 0, resolution, face, depth)
        for v in range(count):
            cosine = frame[2, 0] * normals[v, 0] + frame[2, 1] * normals[v, 1] + frame[2, 2] * normals[v, 2]
            if cosine <= 0.0:
                continue
            weight = cosine * radiance[d]
            total[v] += weight
            bias = texel * (1.0 + min(math.sqrt(max(1.0 - cosine * cosine, 0.0)) / cosine, 4.0))
            x, y, z = snapped[v, 0] / SUBPIXEL, snapped[v, 1] / SUBPIXEL, snapped[v, 2] + bias
            column, row = int(x), int(y)
            fx, fy = x - column, y - row
            visible = 0.0
            if depth[row, column] <= z:
                visible += (1.0 - fx) * (1.0 - fy)
            if depth[row, column + 1] <= z:
                visible += fx * (1.0 - fy)
            if depth[row + 1, column] <= z:
                visible += (1.0 - fx) * fy
            if depth[row + 1, column + 1] <= z:
                visible += fx * fy
            lit[v] += weight * visible


@njit(cache=True, nogil=True)
def smooth(values, triangles, rounds, sums, counts):  # type: ignore[no-untyped-def]
    """Average ``values`` (V,) over the triangles around each vertex, ``rounds`` times; two scratch arrays (V,)."""
    for _ in range(rounds):
        sums[:] = 0.0
        counts[:] = 0.0
        for f in range(triangles.shape[0]):
            i, j, k = triangles[f, 0], triangles[f, 1], triangles[f, 2]
            mean = (values[i] + values[j] + values[k]) / 3.0
            for v in (i, j, k):
                sums[v] += mean
                counts[v] += 1.0
        for v in range(values.shape[0]):
            if counts[v] > 0.0:
                values[v] = sums[v] / counts[v]
