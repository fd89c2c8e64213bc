"""Images per second of the head renderer with full shading, beside a painter's renderer made of OpenCV polygons.

    python benchmarks/speed/rasterizer.py [--seconds 3] [--device cuda] [--json rasterizer.json]

Both start from the same posed vertices and the same texture. Ours: exact visibility, 2 × 2 samples a pixel, per-sample
texture, light and highlights, soft shadows recomputed for every image, matte. OpenCV: triangles sorted by depth, one
colour each (texture and light at its centre, computed by NumPy), twice the size and averaged; no shadows, no
highlights, no matte. A figure is the 90th percentile of repeated calls, so that other work on the machine matters less;
the CPU columns (milliseconds of all cores together for one image) hardly depend on it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from reenact_zoo.faces.morphable import load_head
from reenact_zoo.faces.morphable.base import HeadModel
from reenact_zoo.faces.renderer import Renderer
from reenact_zoo.ops.shading import neutral_light, spherical_harmonics
from reenact_zoo.types import InputError


def images_per_second(draw: Callable[[], int], seconds: float, device: str) -> tuple[float, float]:
    """90th percentile of the rate, and CPU milliseconds per image, over calls that each draw and return how many."""
    draw()
    rates: list[float] = []
    images, used = 0, time.process_time()
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop or len(rates) < 5:
        if device != "cpu":
            torch.cuda.synchronize()
        start = time.perf_counter()
        count = draw()
        if device != "cpu":
            torch.cuda.synchronize()
        rates.append(count / (time.perf_counter() - start))
        images += count
    return float(np.quantile(rates, 0.9)), 1000 * (time.process_time() - used) / images


def people(model: HeadModel, batch: int) -> Tensor:
    """Coefficients (B, K) of different people under the neutral light, heads turned by up to 40°."""
    c = model.sample(torch.Generator().manual_seed(0), batch)
    model.layout.split(c)["pose"][:, 3] = torch.linspace(-40, 40, batch)
    return c


class Painter:
    """Back-to-front OpenCV polygons of twice the size, averaged 2 × 2."""

    def __init__(self, renderer: Renderer, texture: Tensor) -> None:
        self.size, self.triangles = renderer.size, renderer.triangles.cpu().numpy()
        centres = (renderer.uv.mean(1).cpu().numpy() * texture.shape[-1]).astype(int).clip(0, texture.shape[-1] - 1)
        self.albedo = texture[0].permute(1, 2, 0).cpu().numpy()[centres[:, 1], centres[:, 0]]
        self.light = neutral_light()

    def draw(self, vertices: np.ndarray, projected: np.ndarray) -> np.ndarray:
        """(V, 3) camera space, (V, 3) normalised → (S, S, 3) uint8."""
        corners = vertices[self.triangles]
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
        front = normal[:, 2] > -0.2  # the camera is not at infinity
        light = (spherical_harmonics(torch.from_numpy(normal[front])) @ self.light).numpy()
        colours = (255 * self.albedo[front] * np.sqrt(np.maximum(light, 0))).astype(np.uint8)
        side = 2 * self.size
        points = np.round((((projected[:, :2] + 1) * side - 1) / 2)[self.triangles[front]] * 16).astype(np.int32)
        order = np.argsort(-projected[:, 2][self.triangles[front]].mean(1))
        canvas = np.zeros((side, side, 3), np.uint8)
        for k in order:
            cv2.fillConvexPoly(canvas, points[k], colours[k].tolist(), shift=4)
        return cv2.resize(canvas, (self.size, self.size), interpolation=cv2.INTER_AREA)


def measure(model: HeadModel, size: int, batch: int, seconds: float, device: str) -> dict[str, float]:
    """Images per second of everything that is compared."""
    renderer, c = Renderer(model, size), people(model, batch).to(device)
    parts = model.layout.split(c)
    rates: dict[str, float] = {}

    def note(name: str, draw: Callable[[], int]) -> None:
        rates[name], rates[f"{name}, CPU ms"] = images_per_second(draw, seconds, device)

    with torch.no_grad():
        texture = model.albedo(parts["texture"], renderer.texture_size)
        posed = model.vertices(parts["shape"], parts["expression"], parts["pose"])

        def ours(**change: Tensor) -> Callable[[], int]:
            return lambda: len(renderer.render(c, **change).image)

        note("from coefficients", ours())
        note("from vertices", ours(vertices=posed, albedo=texture))
        note("one at a time", lambda: len(renderer.render(c[:1], None, texture[:1], posed[:1]).image))
        renderer.shadows = False
        note("without shadows", ours(vertices=posed, albedo=texture))
        renderer.shadows = True
        painter, out = Painter(renderer, texture), renderer.render(c, vertices=posed, albedo=texture)
        bodies, places = out.vertices.cpu().numpy(), out.projected.cpu().numpy()

        def paint() -> int:
            for body, place in zip(bodies, places):
                painter.draw(body, place)
            return batch

        note("OpenCV painter", paint)
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="per figure")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    device = torch.cuda.get_device_name() if args.device != "cpu" else platform.processor() or platform.machine()
    conditions = f"{device}, {torch.get_num_threads()} threads of {os.cpu_count()} cores, batch {args.batch}"
    console, records = Console(), []
    table = Table(title=f"Images per second; {conditions}", show_lines=True)
    names = ("from coefficients", "from vertices", "one at a time", "without shadows", "OpenCV painter")
    for column in ("head", "size", *names, "ratio to OpenCV", "CPU ms", "OpenCV's"):
        table.add_column(column, justify="left" if column == "head" else "right")
    for name in ("procedural", "ict"):
        try:
            model = load_head(name).to(args.device)
        except InputError as error:
            console.print(f"{name}: left out: {error}")
            continue
        vertices = int(model.triangles.max()) + 1
        for size in (128, 256):
            rates = measure(model, size, args.batch, args.seconds, args.device)
            cpu = (f"{rates[n]:.1f}" for n in ("from vertices, CPU ms", "OpenCV painter, CPU ms"))
            ratio = rates["from vertices"] / rates["OpenCV painter"]
            head = f"{name} ({vertices} vertices)"
            table.add_row(head, str(size), *(f"{rates[n]:.1f}" for n in names), f"{ratio:.2f}", *cpu)
            records.append({"head": name, "vertices": vertices, "size": size, "conditions": conditions, **rates})
    console.print(table)
    if args.json:
        args.json.write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
    main()
