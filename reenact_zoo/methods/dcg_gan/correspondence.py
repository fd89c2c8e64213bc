"""Dense correspondence estimator of DCG-GAN: where P_r finds its pixels in P_s, and with them in the source.

Eq. (1)-(3) of the paper: f_s = E_res^s(E_corr(P_s), L_s, M_s) and f_r = E_res^r(E_corr(P_r), L_r); F = softmax of the
products of all their positions; I_s, P_s and M_s are warped by F. As in CoCosNet, features have mean 0 and length 1,
and the softmax a temperature.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from reenact_zoo.faces.parsing import CLASSES
from reenact_zoo.methods.dcg_gan.landmark_embedding import KINDS, NUM_LANDMARKS, LandmarkMaps, landmark_maps
from reenact_zoo.nn.modulation import InstanceNorm, instance_norm
from reenact_zoo.ops.coordinates import identity_grid
from reenact_zoo.ops.correspondence import PATHS, Correspondence, unit_features
from reenact_zoo.registry import nearest
from reenact_zoo.types import InputError

INPUTS = ("proxy", "landmark", "parsing")
OCTAVES = 4
COORDINATES = 2 + 4 * OCTAVES  # x, y, and a sine and a cosine of each in every octave


@dataclass
class Corr:
    """What the estimator sees and how wide it is; the defaults are for 64 pixels on a CPU.

    Attributes:
        inputs: of the features: proxy (P), landmark (L), parsing (M); the paper's variant sD has parsing alone, then of
            both sides.
        coords: x, y and their waves in four octaves go into both branches: in the background, proxies and landmarks are
            the same everywhere. Not in the paper.
        stride: image pixels per position; the paper has 4 at 256 pixels. At 64, stride 4 alone blurs a picture by .032.
        stem: channels of E_corr's first convolution; they double up to twice ``width``.
        width: channels of the features.
        blocks: residual blocks of each branch.
        dilation: of every block's second convolution: a wider view at no price.
        norm_group: channels normalised together; 1 is CoCosNet's instance norm.
        spectral: spectral norm in E_corr.
        match_kernel: a position is matched with a window of so many positions around it.
        landmark_maps: "drawn", "hrnet", or "auto", see ``landmark_embedding``.
        landmark_sigma: of drawn maps in positions; wide maps of 68 points tell apart positions between the points, too.
        temperature_start, temperature: of the softmax, at the start of training and at its end and in use.
        path: see ``ops.correspondence``.
    """

    inputs: list[str] = field(default_factory=lambda: list(INPUTS))
    coords: bool = True
    stride: int = 2
    stem: int = 16
    width: int = 64
    blocks: int = 1
    dilation: int = 2
    norm_group: int = 16
    spectral: bool = False
    match_kernel: int = 1
    landmark_maps: str = "drawn"
    landmark_sigma: float = 2.0
    temperature_start: float = 0.05
    temperature: float = 0.01
    path: str = "auto"

    @classmethod
    def tiny(cls) -> Corr:
        """Small and quick enough for tests."""
        return cls(stride=4, stem=4, width=8, norm_group=8)

    @classmethod
    def paper(cls) -> Corr:
        """Widths of CoCosNet, which the paper follows, at 256 pixels."""
        return cls(
            coords=False,
            stride=4,
            stem=64,
            width=256,
            blocks=4,
            dilation=1,
            norm_group=1,
            spectral=True,
            landmark_maps="auto",
            landmark_sigma=1.0,
            temperature_start=0.01,
        )

    def __post_init__(self) -> None:
        """Refuse what cannot work, with what to write instead."""
        for name in self.inputs:
            if name not in INPUTS:
                raise InputError(f"dcg_gan: corr.inputs names '{name}'; {nearest(name, INPUTS)}")
        if not self.inputs or len(set(self.inputs)) != len(self.inputs):
            raise InputError(f"dcg_gan: corr.inputs must name at least one of {', '.join(INPUTS)}, each at most once")
        for key, value, known in (("landmark_maps", self.landmark_maps, KINDS), ("path", self.path, PATHS)):
            if value not in known:
                raise InputError(f"dcg_gan: corr.{key} is '{value}'; {nearest(value, known)}")
        if self.stride < 1 or self.stride & (self.stride - 1):
            raise InputError(f"dcg_gan: corr.stride must be 1, 2, 4 or 8, not {self.stride}")
        if self.match_kernel < 1 or self.match_kernel % 2 == 0:
            raise InputError(f"dcg_gan: corr.match_kernel must be 1, 3 or 5, not {self.match_kernel}")
        if min(self.temperature, self.temperature_start) <= 0:
            raise InputError("dcg_gan: corr.temperature and corr.temperature_start must be above 0")
        if min(self.stem, self.width) < 2 or min(self.blocks, self.dilation, self.norm_group) < 1:
            raise InputError("dcg_gan: corr.stem and corr.width must be at least 2, the other sizes of corr at least 1")


@dataclass(frozen=True)
class Side:
    """What the estimator sees of the source, or of the picture that is to be made.

    Attributes:
        proxy: P_s or P_r (B, 3, H, W) RGB in [0, 1].
        landmarks: (B, 68, 2) of that proxy, normalised; a sample with a NaN has empty maps.
        parsing: (B, 19, H, W) probabilities: M_s of the source; of P_r in the variant that has parsing alone.
    """

    proxy: Tensor
    landmarks: Tensor
    parsing: Tensor | None = None


def annealed(progress: float, corr: Corr) -> float:
    """Temperature at this share of training: a straight line in its logarithm."""
    share = min(max(progress, 0.0), 1.0)
    return math.exp((1 - share) * math.log(corr.temperature_start) + share * math.log(corr.temperature))


def coordinate_maps(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """(18, H, W): x, y, then sin(2^k pi x), sin(2^k pi y), cos(2^k pi x), cos(2^k pi y) for k = 0 … 3."""
    grid = identity_grid(height, width, device).permute(2, 0, 1)
    phases = [2.0**k * math.pi * grid for k in range(OCTAVES)]
    return torch.cat([grid, *(wave for phase in phases for wave in (phase.sin(), phase.cos()))])


class SharedEncoder(nn.Sequential):
    """E_corr: one network for both proxies; (B, C, H, W) → (B, width, H / stride, W / stride).

    Two convolutions per halving, the first strided, each with norm and leaky ReLU of slope 0.2; at stride 4 and stem 64
    these are CoCosNet's adaptive feature networks up to their modulated blocks.
    """

    def __init__(self, inputs: int, corr: Corr) -> None:
        halvings = corr.stride.bit_length() - 1
        strides = [1, *(s for _ in range(halvings) for s in (2, 1))]
        widths = [min(corr.stem * 2**i, 2 * corr.width) for i in range(len(strides))]
        if widths[-1] != corr.width:
            strides, widths = [*strides, 1], [*widths, corr.width]
        layers: list[nn.Module] = []
        for before, after, stride in zip([inputs, *widths], widths, strides):
            conv = nn.Conv2d(before, after, 3, stride, 1)
            layers += [spectral_norm(conv) if corr.spectral else conv]
            layers += [InstanceNorm(corr.norm_group), nn.LeakyReLU(0.2, inplace=True)]
        super().__init__(*layers)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with reflected borders and norm, added to what came in; one PReLU serves twice."""

    def __init__(self, width: int, norm_group: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.norm_group = norm_group
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, padding_mode="reflect")
        self.prelu = nn.PReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same shape."""
        inner = self.prelu(instance_norm(self.conv1(x), self.norm_group))
        return self.prelu(instance_norm(self.conv2(inner), self.norm_group) + x)


class ResidualBranch(nn.Module):
    """E_res: what E_corr says, and the maps of one side → what is compared.

    Args:
        inputs: channels that come in, all together.
        width: channels of the blocks; a 1x1 convolution brings them there where ``inputs`` differs.
        outputs: channels of the features.
        blocks: how many.
        norm_group, dilation: see ``ResidualBlock``.
    """

    def __init__(
        self, inputs: int, width: int, outputs: int, blocks: int, norm_group: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.gather = nn.Identity() if inputs == width else nn.Conv2d(inputs, width, 1)
        self.blocks = nn.Sequential(*(ResidualBlock(width, norm_group, dilation) for _ in range(blocks)))
        self.project = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w) → (B, outputs, h, w)."""
        return self.project(self.blocks(self.gather(x)))


class DenseCorrespondence(nn.Module):
    """E_corr and the two branches; called with both sides, it returns a ``Correspondence``.

    Fresh branches are equal and blind to M_s, so that equal proxies match from the first update on.

    Args:
        corr: sizes and inputs.
        image_size: side of the pictures, a multiple of ``corr.stride``.
        maps: makes the landmark embedding; ``corr.landmark_maps`` where omitted.

    Raises:
        InputError: the stride does not fit the size.
        WeightsMissing: HRNet's maps are asked for and its weights are not at hand.
    """

    def __init__(self, corr: Corr, image_size: int, maps: LandmarkMaps | None = None) -> None:
        super().__init__()
        if image_size % corr.stride or image_size // corr.stride <= corr.dilation:
            raise InputError(
                f"dcg_gan: corr.stride {corr.stride} with corr.dilation {corr.dilation} does not fit images of "
                f"{image_size} pixels; take a size that is a multiple, or a smaller stride"
            )
        self.corr, self.image_size = corr, image_size
        self.size = (image_size // corr.stride,) * 2
        self._maps = maps
        if maps is None and "landmark" in corr.inputs:
            self._maps = landmark_maps(corr.landmark_maps, corr.landmark_sigma)
        self._looked_at = next(name for name in ("proxy", "parsing", "landmark") if name in corr.inputs)
        channels = {"proxy": 3, "parsing": len(CLASSES), "landmark": NUM_LANDMARKS}
        self.shared = SharedEncoder(channels[self._looked_at], corr)
        common = corr.width + (COORDINATES if corr.coords else 0)
        common += NUM_LANDMARKS if "landmark" in self._beside else 0
        self.source_branch = self._branch(common + (len(CLASSES) if "parsing" in self._beside else 0))
        self.reenacted_branch = self._branch(common)
        self._start_alike(common)

    @property
    def _beside(self) -> tuple[str, ...]:
        """Inputs that go into the branches; E_corr has the other one."""
        return tuple(name for name in self.corr.inputs if name != self._looked_at)

    @property
    def needs_reenacted_parsing(self) -> bool:
        """Whether E_corr sees parsing in place of proxies (sD), so that both sides must have it."""
        return self._looked_at == "parsing"

    def _branch(self, inputs: int) -> ResidualBranch:
        c = self.corr
        return ResidualBranch(inputs, c.width, c.width, c.blocks, c.norm_group, c.dilation)

    @torch.no_grad()
    def _start_alike(self, common: int) -> None:
        """Make the reenacted side's branch a copy of the source's, whose weights for M_s become 0."""
        own, other = self.source_branch.state_dict(), self.reenacted_branch.state_dict()
        for name, value in other.items():
            if name == "gather.weight":
                own[name][:, common:] = 0
            value.copy_(own[name][:, :common] if name == "gather.weight" else own[name])

    def forward(self, source: Side, reenacted: Side, temperature: float | None = None) -> Correspondence:
        """Correspondence of two sides with (h, w) = (H, W) / stride.

        Args:
            source: P_s with its landmarks, and M_s.
            reenacted: P_r with its landmarks.
            temperature: ``corr.temperature`` where omitted.

        Raises:
            InputError: a picture of another size, or no parsing where it is needed.
        """
        return self.from_features(self.encode_source(source), reenacted, temperature)

    def encode_source(self, source: Side) -> Tensor:
        """Eq. (1): features (B, h w, C) of the source, which serve a whole clip."""
        return self._features(source, self.source_branch, "source", parsing="parsing" in self._beside)

    def from_features(self, source: Tensor, reenacted: Side, temperature: float | None = None) -> Correspondence:
        """As ``forward``, with the features of ``encode_source``."""
        driven = self._features(reenacted, self.reenacted_branch, "reenacted", parsing=False)
        # eq. (2), (3): the softmax runs over the source's positions, for every position of P_r
        warmth = self.corr.temperature if temperature is None else temperature
        return Correspondence(driven, source, self.size, warmth, self.corr.path)  # type: ignore[arg-type]

    def _features(self, side: Side, branch: ResidualBranch, name: str, parsing: bool) -> Tensor:
        self._check(side, name, parsing or self.needs_reenacted_parsing)
        x = self.shared(self._seen(side))
        parts = [x]
        if self.corr.coords:
            parts.append(coordinate_maps(*self.size, device=x.device).to(x.dtype).expand(len(x), -1, -1, -1))
        if "landmark" in self._beside:
            parts.append(self._drawn(side, self.size))
        if parsing:
            assert side.parsing is not None
            parts.append(nn.functional.adaptive_avg_pool2d(side.parsing, self.size))
        return unit_features(branch(torch.cat(parts, 1)), kernel=self.corr.match_kernel)

    def _seen(self, side: Side) -> Tensor:
        """What goes into E_corr."""
        if self._looked_at == "landmark":
            return self._drawn(side, (self.image_size, self.image_size))
        if self._looked_at == "proxy":
            return 2 * side.proxy - 1
        assert side.parsing is not None
        return side.parsing

    def _drawn(self, side: Side, size: tuple[int, int]) -> Tensor:
        assert self._maps is not None
        return self._maps(side.proxy, side.landmarks, size).to(side.proxy.dtype)

    def _check(self, side: Side, name: str, parsing: bool) -> None:
        wanted = (self.image_size, self.image_size)
        if side.proxy.shape[-2:] != wanted:
            raise InputError(
                f"this dcg_gan works on {wanted[0]}x{wanted[1]} pictures, but the {name}'s proxy is "
                f"{side.proxy.shape[-1]}x{side.proxy.shape[-2]}; use image_size {wanted[0]}, or weights of that size"
            )
        if parsing and (side.parsing is None or side.parsing.shape[1:] != (len(CLASSES), *wanted)):
            found = "none" if side.parsing is None else f"of shape {tuple(side.parsing.shape)}"
            raise InputError(
                f"dcg_gan needs the {name}'s parsing (B, {len(CLASSES)}, {wanted[0]}, {wanted[1]}), but there is "
                f"{found}; give it, or leave 'parsing' out of corr.inputs"
            )
