from __future__ import annotations

from pathlib import Path

import pytest
import torch

from reenact_zoo.faces.measure import FaceMeasurer
from reenact_zoo.faces.morphable import load_head
from reenact_zoo.faces.renderer import Renderer
from reenact_zoo.ops.rotation import euler_from_matrix


@pytest.mark.slow
def test_both_instruments_find_the_known_pose_of_renders(weights_folder: Path) -> None:
    head = load_head("ict")
    generator = torch.Generator().manual_seed(1)
    coefficients = head.sample(generator, 12)
    parts = head.layout.split(coefficients)
    pose = parts["pose"].clone()
    pose[:, :3] = (torch.rand(12, 3, generator=generator) - 0.5) * torch.tensor([80.0, 40, 40])
    coefficients = head.layout.join(**{**parts, "pose": pose})
    with torch.inference_mode():
        images = Renderer(head, 256).render(coefficients, torch.full((12, 3, 256, 256), 0.45)).image.clamp(0, 1)
    truth = euler_from_matrix(head.head_rotation(pose))
    measurer = FaceMeasurer()
    assert measurer.measure("detected", images).mean() == 1
    for quantity in ("pose_3ddfa_v2", "pose_pnp"):
        error = (measurer.measure(quantity, images) - truth).abs().mean(0)
        assert error.max() < 4, quantity  # degrees; mean errors of 24 renders are at most 2.7 and 2.5
