"""Figures of the bundled synthetic instruments on people none of them has seen, from the shipped files.

python benchmarks/instruments_held_out.py

The validation people of world 0, 12 frames of each, at 64 and 128 pixels; once with the true landmarks and once with
those that the bundled landmark network finds from a displaced detector box, as in use.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from instruments_on_real_clips import BUNDLED, loaded

from reenact_zoo.datasets.synthetic import Synthetic, SyntheticConfig
from reenact_zoo.faces.networks.synthetic_embedding import SyntheticIdentityJudge, SyntheticIdentityTrain
from reenact_zoo.faces.networks.synthetic_features import SyntheticFeatures
from reenact_zoo.faces.networks.synthetic_landmarks import SyntheticLandmarks
from reenact_zoo.faces.networks.synthetic_motion import CODE, SyntheticMotionJudge, SyntheticMotionTrain
from reenact_zoo.faces.synthetic_crop import face_crop, identity_crop
from reenact_zoo.train.instruments.expression_code import expression_basis
from reenact_zoo.train.instruments.features import ranking
from reenact_zoo.train.instruments.held_out import SIZES, held_out
from reenact_zoo.train.instruments.identity import verification
from reenact_zoo.train.instruments.landmarks import from_wandering_boxes, landmark_errors
from reenact_zoo.train.instruments.motion import motion_errors
from reenact_zoo.train.instruments.task import in_parts

MOTION = {"train": SyntheticMotionTrain, "judge": SyntheticMotionJudge}
IDENTITY = {"train": SyntheticIdentityTrain, "judge": SyntheticIdentityJudge}


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=BUNDLED, help="folder of the synthetic instruments")
    parser.add_argument("--people", type=int, default=60)
    given = parser.parse_args()
    data = held_out("ict", given.people, reduced=False)
    basis = expression_basis(Synthetic(SyntheticConfig(head="ict")).head, CODE)
    finder = loaded(SyntheticLandmarks(), "synthetic_landmarks", given.weights)
    for size in SIZES:
        images, true = data.picture(size), data.landmarks_px(size)
        found, _ = from_wandering_boxes(finder, images, true)
        print(f"{len(images)} frames of {given.people} people at {size} px")
        print(f"  landmarks: {landmark_errors(found, true)}")
        for whose, points in (("true", true), ("found", found)):
            for role, kind in MOTION.items():
                network = loaded(kind(), f"synthetic_motion_{role}", given.weights)
                errors = motion_errors(in_parts(network, face_crop(images, points)[0]), data, basis)
                print(f"  motion_{role}, {whose} landmarks: {errors}")
            for role, embedder in IDENTITY.items():
                network = loaded(embedder(), f"synthetic_identity_{role}", given.weights)
                cosines = verification(in_parts(network, identity_crop(images, points)), data)
                print(f"  identity_{role}, {whose} landmarks: {cosines}")
    features = loaded(SyntheticFeatures(), "synthetic_features", given.weights)
    print(f"features at 64 px: {ranking(features, data.picture(64)[::8], data.person[::8])}")


if __name__ == "__main__":
    main()
