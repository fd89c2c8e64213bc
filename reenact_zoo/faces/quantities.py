"""The one table of what can be measured on a face and by which instrument.

A new instrument is one file and one line in ``INSTRUMENTS``; each public quantity read from its row is one line in
``QUANTITIES``. Every instrument runs once per image however many quantities are read from its row.
"""

from __future__ import annotations

from reenact_zoo.faces.instrument import Instrument, Quantity
from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError

_JUDGE, _TRAIN = {"role": "judge"}, {"role": "train"}

INSTRUMENTS: dict[str, Instrument] = {
    "identity_mobilefacenet": Instrument("identity:MobileFaceNetIdentity", 128, ("mobilefacenet",)),
    "tddfa": Instrument("expression:TddfaFace", 65, ("3ddfa_v2_mb05", "3ddfa_v2_mean_std")),
    "tddfa_v1": Instrument("tddfa:TddfaWhitened", 62, ("3ddfa_v1",), {"entry": "3ddfa_v1"}),
    "tddfa_v2_mb1": Instrument("tddfa:TddfaWhitened", 62, ("3ddfa_v2_mb1",), {"entry": "3ddfa_v2_mb1"}),
    "pnp": Instrument("head_pose:PnpPose", 3),
    "identity_synthetic_judge": Instrument("identity:SyntheticIdentity", 128, ("synthetic_identity_judge",), _JUDGE),
    "identity_synthetic_train": Instrument("identity:SyntheticIdentity", 128, ("synthetic_identity_train",), _TRAIN),
    "motion_synthetic_judge": Instrument("motion:SyntheticMotion", 23, ("synthetic_motion_judge",), _JUDGE),
    "motion_synthetic_train": Instrument("motion:SyntheticMotion", 23, ("synthetic_motion_train",), _TRAIN),
    "coefficients_synthetic": Instrument("coefficients:SyntheticCoefficients", 120, ("synthetic_coefficients",)),
    "parsing_synthetic": Instrument("parsing:SyntheticParsing", 19, ("synthetic_parsing",), is_map=True),
    "identity_cosface": Instrument("cosface:CosFaceIdentity", 1024, ("cosface_sphere20",)),
    "identity_arcface_r50": Instrument("arcface:ArcFaceIdentity", 512, ("arcface_r50_ms1mv3",)),
    "identity_arcface_r18": Instrument("arcface:ArcFaceIdentity", 512, ("arcface_r18_ms1mv3",), {"depth": "r18"}),
    "pose_hopenet": Instrument("hopenet:HopenetPose", 3, ("hopenet_robust_alpha1",)),
    "coefficients_deca": Instrument("deca:DecaCoefficients", 236, ("deca_model",)),
    "coefficients_deep3d": Instrument("deep3d:Deep3DCoefficients", 257, ("deep3dfacerecon_epoch_20",)),
    "action_units_exported": Instrument("action_units:ExportedActionUnitTable", 64, ("action_units_onnx",)),
    "action_units_geometric": Instrument("action_units:GeometricActionUnits", 13),
    "parsing_bisenet": Instrument("bisenet:BiSeNetParsing", 19, ("bisenet_celebamask_hq",), is_map=True),
}
"""Stored row → where its instrument is."""

QUANTITIES: dict[str, Quantity] = {
    "detected": Quantity((), "detection", "1 where the detector found a face, else 0; never NaN"),
    "box": Quantity((4,), "detection", "left, top, right, bottom of the largest face, normalised to [-1, 1]"),
    "landmarks": Quantity((68, 2), "landmarks", "iBUG points of the largest face, normalised to [-1, 1], x before y"),
    "identity_mobilefacenet": Quantity((128,), "identity_mobilefacenet", "embedding of unit length"),
    "pose_3ddfa_v2": Quantity((3,), "tddfa", "yaw, pitch, roll in degrees", start=62),
    "expression_3ddfa_v2": Quantity((10,), "tddfa", "whitened expression code", start=52),
    "expression_3ddfa_v1": Quantity((10,), "tddfa_v1", "expression code, whitened by v1's own mean and std", start=52),
    "expression_3ddfa_v2_mb1": Quantity((10,), "tddfa_v2_mb1", "whitened expression code of the network mb1", start=52),
    "pose_pnp": Quantity((3,), "pnp", "yaw, pitch, roll in degrees"),
    "identity_synthetic_judge": Quantity((128,), "identity_synthetic_judge", "embedding of unit length"),
    "identity_synthetic_train": Quantity((128,), "identity_synthetic_train", "embedding of unit length"),
    "pose_synthetic_judge": Quantity((3,), "motion_synthetic_judge", "yaw, pitch, roll in degrees"),
    "pose_synthetic_train": Quantity((3,), "motion_synthetic_train", "yaw, pitch, roll in degrees"),
    "expression_synthetic_judge": Quantity((20,), "motion_synthetic_judge", "code, in % of face width", start=3),
    "expression_synthetic_train": Quantity((20,), "motion_synthetic_train", "code, in % of face width", start=3),
    "coefficients_synthetic": Quantity((120,), "coefficients_synthetic", "of head ict_reduced, whole frame's camera"),
    "parsing_synthetic": Quantity((19, 0, 0), "parsing_synthetic", "class probabilities, BiSeNet's order, to 1/255"),
    "identity_cosface": Quantity((1024,), "identity_cosface", "embedding of face and mirror image, unit length"),
    "identity_arcface_r50": Quantity((512,), "identity_arcface_r50", "embedding of unit length"),
    "identity_arcface_r18": Quantity((512,), "identity_arcface_r18", "embedding of unit length"),
    "pose_hopenet": Quantity((3,), "pose_hopenet", "yaw, pitch, roll in degrees; Hopenet's order of rotations"),
    "coefficients_deca": Quantity(
        (236,), "coefficients_deca", "shape 100, texture 50, expression 50, pose 6, camera 3 (of DECA's crop), light 27"
    ),
    "expression_deca": Quantity((50,), "coefficients_deca", "FLAME expression coefficients", start=150),
    "coefficients_deep3d": Quantity(
        (257,),
        "coefficients_deep3d",
        "identity 80, expression 64, texture 80, angles 3, light 27, shift 3; order unverified",
    ),
    "expression_deep3d": Quantity((64,), "coefficients_deep3d", "expression; unverified", start=80),
    "pose_deep3d": Quantity((3,), "coefficients_deep3d", "angles in rad, authors' order; unverified", start=224),
    "action_units_exported": Quantity(
        (64,), "action_units_exported", "FACS units 1 to 64 in [0, 1], NaN: unknown to the network; present at 0.5"
    ),
    "action_units_geometric": Quantity(
        (13,), "action_units_geometric", "strength in [0, 1] of units 1 2 4 5 9 10 12 15 16 18 20 26 45; present at 0.3"
    ),
    "parsing_bisenet": Quantity((19, 0, 0), "parsing_bisenet", "class probabilities, BiSeNet's order, to 1/255"),
}
"""Public quantity → the part of a stored row it is."""


def quantity(name: str) -> Quantity:
    """Line of ``QUANTITIES``; InputError with the nearest name where there is none."""
    if name not in QUANTITIES:
        raise InputError(f"no instrument measures '{name}'; {nearest(name, QUANTITIES)}")
    return QUANTITIES[name]
