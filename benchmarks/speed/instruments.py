"""Images per second of every face instrument, in float32 and under bfloat16 autocast, and how far the two agree.

    python benchmarks/speed/instruments.py [--seconds 2] [--batch 8] [--device cuda] [--only pose] [--json out.json]

A call takes a batch of 256 x 256 crops of the public-domain portrait of scikit-image, moved and lit differently, with
their landmarks, and does everything from image to numbers: crop, normalisation, network. The figure is the median of
repeated calls. "difference" is the root mean square difference of the two precisions' numbers as a share of the root
mean square of the numbers. Where the real weights are not at hand the network has random ones ("random"): its speed is
the same, its difference only a hint. "automatic" is what this device would choose: bfloat16 only where hardware
multiplies it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from reenact_zoo.faces.action_units import GeometricActionUnits
from reenact_zoo.faces.align import CropPolicy, crop, to_crop
from reenact_zoo.faces.arcface import ArcFaceIdentity
from reenact_zoo.faces.bisenet import BiSeNetParsing
from reenact_zoo.faces.coefficients import SyntheticCoefficients
from reenact_zoo.faces.cosface import CosFaceIdentity
from reenact_zoo.faces.deca import DecaCoefficients
from reenact_zoo.faces.deep3d import Deep3DCoefficients
from reenact_zoo.faces.detect import HogDetector, MtcnnDetector
from reenact_zoo.faces.expression import TddfaFace
from reenact_zoo.faces.features import SyntheticFeatures
from reenact_zoo.faces.head_pose import PnpPose
from reenact_zoo.faces.hopenet import HopenetPose
from reenact_zoo.faces.hrnet import HRNetLandmarks
from reenact_zoo.faces.identity import MobileFaceNetIdentity, SyntheticIdentity
from reenact_zoo.faces.landmarks import LandmarkDetector, OpenSeeFaceLandmarks, SyntheticLandmarks, default_landmarks
from reenact_zoo.faces.motion import SyntheticMotion
from reenact_zoo.faces.networks import (
    synthetic_coefficients,
    synthetic_embedding,
    synthetic_features,
    synthetic_landmarks,
    synthetic_motion,
    synthetic_parsing,
)
from reenact_zoo.faces.parsing import SyntheticParsing
from reenact_zoo.nn.backbones import pretrained
from reenact_zoo.nn.fid import InceptionFid
from reenact_zoo.nn.lpips import Lpips
from reenact_zoo.train.precision import fast_bfloat16
from reenact_zoo.weights.store import WeightsMissing, WeightStore

SYNTHETIC: dict[str, type[nn.Module]] = {
    "synthetic_identity_train": synthetic_embedding.SyntheticIdentityTrain,
    "synthetic_identity_judge": synthetic_embedding.SyntheticIdentityJudge,
    "synthetic_motion_train": synthetic_motion.SyntheticMotionTrain,
    "synthetic_motion_judge": synthetic_motion.SyntheticMotionJudge,
    "synthetic_coefficients": synthetic_coefficients.SyntheticCoefficients,
    "synthetic_landmarks": synthetic_landmarks.SyntheticLandmarks,
    "synthetic_parsing": synthetic_parsing.SyntheticParsing,
    "synthetic_features": synthetic_features.SyntheticFeatures,
}


class SpeedStore(WeightStore):
    """The user's weights; where one is missing the network keeps its random ones, which ``random`` remembers."""

    random = False

    def load_into(self, module: nn.Module, name: str, part: str = "") -> None:
        try:
            super().load_into(module, name, part)
        except WeightsMissing:
            self.random = True

    def load_state_dict(self, name: str, part: str = "") -> dict[str, Tensor]:
        try:
            return super().load_state_dict(name, part)
        except WeightsMissing:
            if name not in SYNTHETIC:
                raise
            self.random = True
            return SYNTHETIC[name]().state_dict()


class Scene:
    """A batch of crops of one portrait with landmarks."""

    def __init__(self, batch: int, device: str) -> None:
        import skimage.data

        picture = np.asarray(skimage.data.astronaut())
        box = HogDetector().detect(picture)[0].box
        points = default_landmarks().detect(picture, [box])[0]
        square = CropPolicy().square(points)
        rng = np.random.default_rng(0)
        self.pictures, landmarks = [], []
        for _ in range(batch):
            moved = type(square)(square.x + rng.uniform(-8, 8), square.y + rng.uniform(-8, 8), square.side)
            light = rng.uniform(0.7, 1.1)
            self.pictures.append((crop(picture, moved, 256) * light).clip(0, 255).astype(np.uint8))
            landmarks.append(to_crop(points, moved, 256))
        stacked = np.stack(self.pictures).transpose(0, 3, 1, 2)
        self.images = torch.from_numpy(np.ascontiguousarray(stacked)).to(device).float() / 255
        self.landmarks = torch.from_numpy(np.stack(landmarks)).to(device)
        self.boxes = [HogDetector().detect(image)[0].box for image in self.pictures]


Run = Callable[[], Tensor | None]


def aligned(tool: Any, scene: Scene) -> Run:
    return lambda: tool(scene.images, scene.landmarks)


def located(tool: LandmarkDetector, scene: Scene) -> Run:
    def run() -> Tensor:
        pairs = zip(scene.pictures, scene.boxes)
        return torch.from_numpy(np.concatenate([tool.detect(image, [box]) for image, box in pairs]))

    return run


def detected(tool: Any, scene: Scene) -> Run:
    def run() -> None:
        for image in scene.pictures:
            tool.detect(image)

    return run


def catalogue(device: str) -> dict[str, Callable[[SpeedStore, Scene], Run]]:
    """Name → builder; nothing is loaded before it is called."""

    def by_class(cls: Any, **options: Any) -> Callable[[SpeedStore, Scene], Run]:
        return lambda store, scene: aligned(cls(store=store, device=device, **options), scene)

    def pyramid(name: Any) -> Callable[[SpeedStore, Scene], Run]:
        def build(store: SpeedStore, scene: Scene) -> Run:
            network = pretrained(name, store).to(device)
            return lambda: list(network(scene.images).values())[-1]

        return build

    def lpips(store: SpeedStore, scene: Scene) -> Run:
        tool = Lpips.from_store("alex", store).to(device)
        return lambda: tool(scene.images, scene.images.flip(3))

    def features(store: SpeedStore, scene: Scene) -> Run:
        tool = SyntheticFeatures(store, device)
        return lambda: tool(scene.images)[-1]

    def inception(store: SpeedStore, scene: Scene) -> Run:
        tool = InceptionFid.from_store(store).to(device)
        return lambda: tool(scene.images)

    return {
        "detect: dlib HOG": lambda store, scene: detected(HogDetector(), scene),
        "detect: MTCNN": lambda store, scene: detected(MtcnnDetector(store, device=device), scene),
        "landmarks: OpenSeeFace (onnxruntime)": lambda store, scene: located(OpenSeeFaceLandmarks(store), scene),
        "landmarks: HRNet-W18, two passes": lambda store, scene: located(HRNetLandmarks(store, device), scene),
        "landmarks: synthetic, two passes": lambda store, scene: located(SyntheticLandmarks(store, device), scene),
        "identity: MobileFaceNet": by_class(MobileFaceNetIdentity),
        "identity: CosFace sphere20, twice": by_class(CosFaceIdentity),
        "identity: ArcFace IResNet-18": by_class(ArcFaceIdentity, depth="r18"),
        "identity: ArcFace IResNet-50": by_class(ArcFaceIdentity),
        "identity: synthetic, train": by_class(SyntheticIdentity, role="train"),
        "identity: synthetic, judge": by_class(SyntheticIdentity, role="judge"),
        "pose and expression: 3DDFA_V2": by_class(TddfaFace),
        "pose: Hopenet": by_class(HopenetPose),
        "pose: PnP on landmarks": by_class(PnpPose),
        "motion: synthetic, train": by_class(SyntheticMotion, role="train"),
        "motion: synthetic, judge": by_class(SyntheticMotion, role="judge"),
        "coefficients: DECA": by_class(DecaCoefficients),
        "coefficients: Deep3DFaceRecon": by_class(Deep3DCoefficients),
        "coefficients: synthetic": by_class(SyntheticCoefficients),
        "action units: geometric": by_class(GeometricActionUnits),
        "parsing: BiSeNet at 512": by_class(BiSeNetParsing),
        "parsing: synthetic": by_class(SyntheticParsing),
        "features: VGG-19": pyramid("vgg19"),
        "features: LPIPS, AlexNet, a pair": lpips,
        "features: Inception (FID)": inception,
        "features: synthetic": features,
    }


def rate(run: Run, count: int, seconds: float, device: str) -> float:
    """Images per second, median over calls."""
    run()
    rates: list[float] = []
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop or len(rates) < 3:
        if device != "cpu":
            torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        if device != "cpu":
            torch.cuda.synchronize()
        rates.append(count / (time.perf_counter() - start))
    return float(np.median(rates))


def measure(run: Run, count: int, seconds: float, device: str) -> dict[str, Any]:
    """Both rates and the difference; instruments without PyTorch inside have one rate."""
    with torch.inference_mode():
        exact = run()
        result: dict[str, Any] = {"float32": rate(run, count, seconds, device)}
        with torch.autocast(device, torch.bfloat16):
            try:
                coarse = run()
            except TypeError as error:  # NumPy has no bfloat16
                return result | {"bfloat16_fails": str(error)}
            if exact is None or coarse is None or torch.equal(exact, coarse):
                return result  # autocast changes nothing here
            result["bfloat16"] = rate(run, count, seconds, device)
        result["difference"] = float((exact - coarse.float()).square().mean().sqrt() / exact.square().mean().sqrt())
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="per figure")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", default="", help="instruments whose line contains this")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args()
    torch.manual_seed(0)
    name = torch.cuda.get_device_name() if args.device != "cpu" else platform.processor() or platform.machine()
    automatic = "bfloat16" if fast_bfloat16(args.device) else "float32"
    conditions = f"{name}, {torch.get_num_threads()} threads of {os.cpu_count()} cores, batch {args.batch}"
    table = Table(title=f"Images per second; {conditions}; automatic precision here: {automatic}")
    for column in ("instrument", "weights", "float32", "bfloat16", "difference"):
        table.add_column(column, justify="left" if column in ("instrument", "weights") else "right")
    scene, records = Scene(args.batch, args.device), []
    for line, build in catalogue(args.device).items():
        if args.only not in line:
            continue
        store = SpeedStore(licence="research")
        try:
            figures = measure(build(store, scene), args.batch, args.seconds, args.device)
        except WeightsMissing as error:
            Console().print(f"{line}: left out: {error}")
            continue
        weights = "random" if store.random else "real"
        half = f"{figures['bfloat16']:.1f}" if "bfloat16" in figures else "–"
        difference = f"{figures['difference']:.4f}" if "difference" in figures else "–"
        print(f"{line}: {figures['float32']:.1f}", flush=True)  # the table comes at the end
        table.add_row(line, weights, f"{figures['float32']:.1f}", half, difference)
        records.append({"instrument": line, "weights": weights, "conditions": conditions, **figures})
    Console(width=130).print(table)
    if args.json:
        args.json.write_text(json.dumps({"automatic": automatic, "figures": records}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
