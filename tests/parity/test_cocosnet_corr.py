"""The residual branch, the scores and all warps against outputs of CoCosNet (golden/spec_cocosnet_corr.md).

Its variant in which only the best score counts fully is not built: DCG-GAN has no use for it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_network import Golden
from torch import Tensor
from torch.nn import functional as F

from reenact_zoo.methods.dcg_gan.correspondence import ResidualBranch
from reenact_zoo.ops.correspondence import Correspondence, unit_features

NOISE = 5e-5  # golden/README.md: 1e-5, which the temperature of 0.01 makes larger; both sides may have it
SIZE = (16, 16)


def _branch(stored: Golden, weights: dict[str, Tensor], head: str, width: int) -> ResidualBranch:
    """Both branches of CoCosNet share their blocks and have a projection of their own."""
    branch = ResidualBranch(width, width, 256, blocks=4)
    blocks = {key.replace("layer.", "blocks."): value for key, value in weights.items() if key.startswith("layer.")}
    branch.load_state_dict({**blocks, **{f"project.{x}": weights[f"{head}.{x}"] for x in ("weight", "bias")}})
    return branch


# A: windows of 3, labels beside the features; B: single positions, as in DCG-GAN; C: centred over positions
@pytest.mark.parametrize(
    "case", [pytest.param("A", marks=pytest.mark.slow), "B", pytest.param("C", marks=pytest.mark.slow)]
)
@torch.no_grad()
def test_pseudo_random_weights_give_cocosnets_correspondence(golden: Path, case: str) -> None:
    stored = Golden(golden, "cocosnet_corr")
    settings = json.loads(str(stored.data[f"{case}_cfg"]))
    rng = np.random.default_rng(88)
    content, exemplar = (torch.from_numpy(rng.standard_normal((2, 256, *SIZE)).astype(np.float32)) for _ in range(2))
    labels, exemplar_labels = (
        F.interpolate(torch.from_numpy(rng.uniform(0, 1, (2, 19, 64, 64)).astype(np.float32)), SIZE, mode="nearest")
        for _ in range(2)
    )
    content, exemplar = F.normalize(content), F.normalize(exemplar)
    stored.compare("feat_normalized_seg", content, 1e-6)
    if settings["mask"]:
        content, exemplar = torch.cat([content, labels], 1), torch.cat([exemplar, exemplar_labels], 1)
    weights, width = stored.weights(f"{case}_"), content.shape[1]
    theta, phi = (_branch(stored, weights, head, width) for head in ("theta", "phi"))
    blocks = theta.blocks(content), phi.blocks(exemplar)
    stored.compare(f"{case}_layer_seg", blocks[0], NOISE)

    centre = "channels" if settings["pono_c"] else "positions"
    query, key = (unit_features(branch.project(x), centre, settings["mk"]) for branch, x in zip((theta, phi), blocks))
    stored.compare(f"{case}_corr_over_T", query @ key.mT / 0.01, 1e-3)
    found = Correspondence(query, key, SIZE, 0.01, "plain")
    picture = stored.images(81, 82, size=(64, 64), low=-1.0)
    warped = found.warp(picture)
    how = {"mode": "bilinear", "align_corners": False} if settings.get("bil", True) else {"mode": "nearest"}
    stored.compare(f"{case}_warp_out", F.interpolate(warped, scale_factor=4, **how), NOISE)
    stored.compare(f"{case}_warp_cycle", found.unwarp(warped), NOISE)
    real = found.unwarp(stored.images(83, 84, size=(64, 64), low=-1.0))
    stored.compare(f"{case}_warp_i2r", real, NOISE)
    stored.compare(f"{case}_warp_i2r2i", found.warp(real), NOISE)
    if settings["loss"] == "direct":
        stored.compare(f"{case}_warp_mask", found.warp(exemplar_labels), NOISE)
    if settings["loss"] == "cycle":
        stored.compare(f"{case}_warp_mask", found.warp(found.unwarp(labels)), NOISE)
    for path in ("chunked", "scaled_dot_product"):
        other = Correspondence(query, key, SIZE, 0.01, path)  # type: ignore[arg-type]
        torch.testing.assert_close(other.warp(picture), warped, rtol=0, atol=1e-4)
        torch.testing.assert_close(other.unwarp(warped), found.unwarp(warped), rtol=0, atol=1e-4)
