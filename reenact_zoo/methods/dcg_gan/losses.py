"""Losses of DCG-GAN, eq. (7)-(15) of the paper, and the weights between them.

L_G = sum of lambda_i L_i over proxy warp, cycle, identity, geometry, hybrid pixel loss and the adversarial term;
L_D = hinge. P_s^w, M_s^w and I_s^w are warped; I_r is made, I_s the source, I_d the driving frame, which is the truth
where both show one person ("paired"). All pictures are in [0, 1]; every function returns its term without weight.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reenact_zoo.faces.coefficients import LAYOUT, SyntheticCoefficients
from reenact_zoo.faces.features import SyntheticFeatures
from reenact_zoo.faces.identity import SyntheticIdentity
from reenact_zoo.faces.morphable.base import CoefficientLayout
from reenact_zoo.nn.reconstruction import ReconstructionLoss, ReconstructionWeights, reconstruction_loss
from reenact_zoo.ops.coordinates import normalised_to_pixel
from reenact_zoo.types import InputError
from reenact_zoo.weights.store import WeightStore

SHIFT, SCALE = 0.02, 0.05  # of the crops that judges see: half image sizes, and a share
NOISE = 0.02  # standard deviation on what they see
SHARE = 0.1  # calibrated terms are "one order of magnitude lower" than the geometry term
FLOOR = 1e-3  # of a term's mean, so that a term which is nearly 0 gets no huge weight
_TINY = 1e-12

Coefficients = Callable[[Tensor, Tensor], Tensor]
"""Pictures (B, 3, H, W), landmarks (B, 68, 2) px → coefficients (B, K), differentiable in the pictures."""

_log = logging.getLogger(__name__)


@dataclass
class LossWeights:
    """Factors lambda_i; a term of weight 0 is left out. The defaults are for 64 pixels without VGG.

    Attributes:
        proxy_warp: of |P_s^w - P_r|.
        cycle: of |I_s' - I_s|, the warped source led back.
        anchor: of |F I_s - I_s| where P_r = P_s; not in the paper.
        colour, gradient, perceptual: of the paired pixel loss that all methods share, see ``nn.reconstruction``.
        pixel_l2: of the paper's paired pixel loss, a root mean square.
        parsing: of the paired distance of M_s^w to the driving frame's parsing.
        identity: of 1 - cosine of embeddings of I_r and I_s.
        geometry: of the difference of pose and expression of I_r and I_d.
        adversarial: of the generator's hinge term.
        geometry_start, adversarial_start: shares of training after which these terms begin.
        calibrated: set the weights as the paper describes, see ``Calibration``.
        warm_up: updates that calibration measures.
    """

    proxy_warp: float = 10.0
    cycle: float = 2.0
    anchor: float = 0.0
    colour: float = 10.0
    gradient: float = 5.0
    perceptual: float = 0.0
    pixel_l2: float = 0.0
    parsing: float = 2.0
    identity: float = 1.0
    geometry: float = 0.5
    adversarial: float = 0.1
    geometry_start: float = 0.2
    adversarial_start: float = 0.4
    calibrated: bool = False
    warm_up: int = 200

    @classmethod
    def paper(cls) -> LossWeights:
        """The paper's terms, calibrated from the first updates on."""
        return cls(
            proxy_warp=1.0,
            cycle=1.0,
            colour=0.0,
            gradient=0.0,
            pixel_l2=1.0,
            parsing=1.0,
            identity=1.0,
            geometry=1.0,
            adversarial=0.1,
            geometry_start=0.0,
            adversarial_start=0.0,
            calibrated=True,
        )

    def __post_init__(self) -> None:
        """Refuse what cannot work, with what to write instead."""
        for name, value in self.factors().items():
            if not value >= 0:
                raise InputError(f"dcg_gan: losses.{name} must be 0 or more, not {value}")
        for name in ("geometry_start", "adversarial_start"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"dcg_gan: losses.{name} is a share and must lie in [0, 1], not {getattr(self, name)}")
        if self.calibrated and (self.geometry <= 0 or self.warm_up < 1):
            raise InputError(
                "dcg_gan: calibration compares every term with the geometry term; give losses.geometry a weight and "
                "losses.warm_up at least 1, or set losses.calibrated=false"
            )

    def factors(self) -> dict[str, float]:
        """Term → weight."""
        other = ("geometry_start", "adversarial_start", "calibrated", "warm_up")
        return {f.name: float(getattr(self, f.name)) for f in fields(self) if f.name not in other}


# --- terms ----------------------------------------------------------------------------------------------------------


def proxy_warp(warped_proxy: Tensor, proxy: Tensor) -> Tensor:
    """L_mw = |P_s^w - P_r|: warped proxy (B, 3, h, w), P_r (B, 3, H, W), which is averaged down."""
    return F.l1_loss(warped_proxy, _at(proxy, warped_proxy))


def cycle(returned: Tensor, source: Tensor) -> Tensor:
    """L_cc = |I_s' - I_s|: I_s' = W F I_s (B, 3, h, w), I_s (B, 3, H, W)."""
    return F.l1_loss(returned, _at(source, returned))


def anchor(warped_source: Tensor, source: Tensor) -> Tensor:
    """|F I_s - I_s| for F of a proxy with itself: (B, 3, h, w), (B, 3, H, W)."""
    return F.l1_loss(warped_source, _at(source, warped_source))


def pixel_l2(made: Tensor, driving: Tensor, paired: Tensor) -> Tensor:
    """First half of L_pix: root mean square of I_r - I_d (B, 3, H, W), mean over paired rows; 0 where none is."""
    return _over(paired, _root_mean_square(made - driving))


def parsing_warp(warped_parsing: Tensor, driving_parsing: Tensor, paired: Tensor) -> Tensor:
    """Second half of L_pix: M_s^w (B, 19, h, w) against the driving frame's (B, 19, H, W), over paired rows.

    Half the sum of absolute differences of the classes, the share of the picture that has another class: bounded by 1,
    where the paper's norm counts all classes.
    """
    distance = (warped_parsing - _at(driving_parsing, warped_parsing)).abs().sum(1).flatten(1).mean(1) / 2
    return _over(paired, distance)


def hinge_generator(scores: Tensor) -> Tensor:
    """L_G^adv = -E[D(I_r)]."""
    return -scores.mean()


def hinge_discriminator(real: Tensor, made: Tensor) -> Tensor:
    """L_D = -E[min(0, -1 + D(I_d))] - E[min(0, -1 - D(I_r))]; made pictures without gradient."""
    return F.relu(1 - real).mean() + F.relu(1 + made).mean()


def paired_share(progress: float, start: float = 0.8, end: float = 0.5) -> float:
    """Probability of a paired batch row: a straight line over the first half of training, then ``end``."""
    return start + (end - start) * min(1.0, max(0.0, 2 * progress))


def _at(picture: Tensor, like: Tensor) -> Tensor:
    return F.adaptive_avg_pool2d(picture.float(), (like.shape[-2], like.shape[-1]))


def _root_mean_square(difference: Tensor) -> Tensor:
    return (difference.float().square().flatten(1).mean(1) + _TINY).sqrt()


def _over(rows: Tensor, values: Tensor) -> Tensor:
    """Mean of the values (B,) of these rows; 0, with a gradient of 0, where there is none."""
    chosen = rows.to(values.dtype)
    return (values * chosen).sum() / chosen.sum().clamp(min=1)


# --- terms that look through a fixed network ------------------------------------------------------------------------


class Judges:
    """The fixed networks of the losses: no part of the method, not in its checkpoints, never those of metrics.

    Args:
        weights: a network whose terms weigh nothing is not loaded.
        device: where they run.
        store: where their weights lie.
        coefficients: E_3D; the one trained on synthetic people where omitted.
        layout: of its coefficients.

    Attributes:
        instruments: weight entries in use.
    """

    def __init__(
        self,
        weights: LossWeights,
        device: torch.device | str = "cpu",
        store: WeightStore | None = None,
        coefficients: Coefficients | None = None,
        layout: CoefficientLayout = LAYOUT,
    ) -> None:
        parts = (weights.colour, weights.gradient, weights.perceptual)
        self._reconstruction: ReconstructionLoss = reconstruction_loss(
            ReconstructionWeights(*(float(weight > 0) for weight in parts)),
            lambda: SyntheticFeatures(store).network,
            SyntheticFeatures.weights[0],
            store,
        ).to(device)
        self._identity = SyntheticIdentity("train", store, device) if weights.identity > 0 else None
        self._coefficients, self._layout = coefficients, layout
        if coefficients is None and weights.geometry > 0:
            self._coefficients = SyntheticCoefficients(store, device)
        named = (self._reconstruction.backbone_name, *getattr(self._identity, "weights", ()))
        self.instruments = tuple(sorted({*filter(None, named), *getattr(self._coefficients, "weights", ())}))

    def pixel(self, made: Tensor, driving: Tensor, paired: Tensor) -> dict[str, Tensor]:
        """The project's own pixel loss of I_r and I_d (B, 3, H, W) over paired rows (B,): "colour", "gradient",
        "perceptual"; nothing where no row is paired.
        """
        if not bool(paired.any()):
            return {}
        return self._reconstruction.parts(made[paired].float(), driving[paired].float())

    def identity(self, made: Tensor, source: Tensor, landmarks: Tensor, source_landmarks: Tensor) -> Tensor:
        """L_id = 1 - cos(A(I_r), A(I_s)): pictures (B, 3, H, W), where their faces lie (B, 68, 2), normalised."""
        if self._identity is None:
            raise ValueError("the identity term has no weight")
        ours = self._identity(_disturbed(made), _moved_px(landmarks, made))
        with torch.no_grad():
            theirs = self._identity(_disturbed(source), _moved_px(source_landmarks, source))
        return 1 - (ours * theirs).sum(-1).mean()

    def geometry(self, made: Tensor, driving: Tensor, landmarks: Tensor) -> Tensor:
        """L_geo = |pose_r - pose_d| + |exp_r - exp_d|, mean over coefficients, both estimated by E_3D.

        Args:
            made: I_r (B, 3, H, W).
            driving: I_d (B, 3, H, W).
            landmarks: (B, 68, 2) of the face in I_r, normalised; both pictures are cropped there, a little off, because
                the pose that E_3D sees depends a little on the crop.
        """
        if self._coefficients is None:
            raise ValueError("the geometry term has no weight")
        points_px = _moved_px(landmarks, made)
        ours = self._layout.split(self._coefficients(_disturbed(made), points_px))
        with torch.no_grad():
            theirs = self._layout.split(self._coefficients(_disturbed(driving), points_px))
        return F.l1_loss(ours["pose"], theirs["pose"]) + F.l1_loss(ours["expression"], theirs["expression"])


def _moved_px(landmarks: Tensor, pictures: Tensor) -> Tensor:
    """Landmarks in pixels, shifted and scaled at random per sample, so that no crop is the same twice."""
    centre = landmarks.mean(1, keepdim=True)
    shift = SHIFT * torch.randn(len(landmarks), 1, 2, device=landmarks.device)
    scale = 1 + SCALE * torch.randn(len(landmarks), 1, 1, device=landmarks.device)
    return normalised_to_pixel(centre + shift + scale * (landmarks - centre), *pictures.shape[-2:])


def _disturbed(pictures: Tensor) -> Tensor:
    """Random blur and noise per sample: a judge must not find patterns that only it sees."""
    pictures = pictures.float()
    line = pictures.new_tensor([0.25, 0.5, 0.25])
    kernel = (line[:, None] * line).expand(pictures.shape[1], 1, 3, 3)
    blurred = F.conv2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), kernel, groups=pictures.shape[1])
    share = torch.rand(len(pictures), 1, 1, 1, device=pictures.device)
    return torch.lerp(pictures, blurred, share) + NOISE * torch.randn_like(pictures)


# --- weights --------------------------------------------------------------------------------------------------------


class Calibration(nn.Module):
    """Multiplies terms by their weights, which the first updates may decide.

    The paper gives the geometry term weight 1 and the others weights that make them "one order of magnitude lower",
    which is read as: than the geometry term. So lambda_i = 0.1 * mean(L_geometry) / mean(L_i) over the first updates,
    in which the given weights apply; then they rest. The adversarial term, whose mean says nothing, keeps its own.
    Sums and results are buffers: they belong to the checkpoint.

    Args:
        weights: given ones.
    """

    factors: Tensor
    sums: Tensor
    counts: Tensor
    updates: Tensor

    def __init__(self, weights: LossWeights) -> None:
        super().__init__()
        given = weights.factors()
        self.names = tuple(given)
        self._calibrated, self._warm_up = weights.calibrated, weights.warm_up
        self.register_buffer("factors", torch.tensor(list(given.values())))
        self.register_buffer("sums", torch.zeros(len(given), dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(len(given), dtype=torch.int64))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @property
    def measuring(self) -> bool:
        """Whether the next update is measured, so that all terms are wanted, the geometry term too."""
        return self._calibrated and int(self.updates) < self._warm_up

    def values(self) -> dict[str, float]:
        """Term → weight in force."""
        return dict(zip(self.names, self.factors.tolist()))

    def forward(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Terms of one update (those that a batch lacks left out) → the same with weights, those of weight 0 left out.

        Raises:
            InputError: the warm-up ends without a geometry term.
            ValueError: a term that is not in ``LossWeights``.
        """
        unknown = set(parts) - set(self.names)
        if unknown:
            raise ValueError(f"no weight for {sorted(unknown)}")
        weighted = {name: value * self.factors[self.names.index(name)].clone() for name, value in parts.items()}
        if self.training and self.measuring:
            self._measure(parts)
        return {name: value for name, value in weighted.items() if self.factors[self.names.index(name)] > 0}

    @torch.no_grad()
    def _measure(self, parts: Mapping[str, Tensor]) -> None:
        for name, value in parts.items():
            self.sums[self.names.index(name)] += value.detach().double()
            self.counts[self.names.index(name)] += 1
        self.updates += 1
        if int(self.updates) == self._warm_up:
            self._settle()

    def _settle(self) -> None:
        at = self.names.index("geometry")
        if not int(self.counts[at]):
            raise InputError(
                "dcg_gan: no geometry term in the first losses.warm_up updates; set losses.calibrated=false"
            )
        means = (self.sums / self.counts.clamp(min=1)).clamp(min=FLOOR)
        for i, name in enumerate(self.names):
            if name not in ("geometry", "adversarial") and self.factors[i] > 0 and int(self.counts[i]):
                self.factors[i] = SHARE * means[at] / means[i]
        self.factors[at] = 1.0
        given = ", ".join(f"{name} {value:.3g}" for name, value in self.values().items() if value > 0)
        _log.info("loss weights after %d updates, which stay: %s", self._warm_up, given)
