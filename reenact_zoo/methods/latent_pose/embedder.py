"""The two descriptors: who is shown (ResNeXt-50) and how the head is held and moved (MobileNetV2).

Burkov et al., CVPR 2020, arXiv:2004.12000. Nothing but the length of the vectors and the augmentation of the driving
image keeps the identity out of the pose descriptor.
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import MobileNetV2, mobilenet_v2, resnext50_32x4d
from torchvision.models.resnet import BasicBlock

# expansion, channels, blocks, stride of the small pose encoder: one block per stage of MobileNetV2, up to 1/16
_STAGES = ((1, 16, 1, 1), (4, 24, 1, 2), (4, 32, 1, 2), (4, 64, 1, 2))


class Embedder(nn.Module):
    """Both encoders; their names are those of the released checkpoint.

    Args:
        identity_encoder: (B, 3, H, W) → (B, E).
        pose_encoder: (B, 3, H, W) → (B, P).
    """

    def __init__(self, identity_encoder: nn.Module, pose_encoder: nn.Module) -> None:
        super().__init__()
        self.identity_encoder = identity_encoder
        self.pose_encoder = pose_encoder

    def identities(self, images: Tensor) -> Tensor:
        """Images of one person (B, K, 3, H, W) RGB in [0, 1] → an embedding of each (B, K, E)."""
        embeddings: Tensor = self.identity_encoder(images.flatten(0, 1))
        return embeddings.unflatten(0, images.shape[:2])

    def pose(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1] → (B, P)."""
        embedding: Tensor = self.pose_encoder(images)
        return embedding


def released_embedder(identity_size: int = 512, pose_size: int = 256) -> Embedder:
    """The released encoders with fresh weights, 26,580,800 parameters: torchvision has the same networks."""
    return Embedder(resnext50_32x4d(num_classes=identity_size), mobilenet_v2(num_classes=pose_size))


def small_embedder(width: int, identity_size: int, pose_size: int) -> Embedder:
    """Encoders for small pictures and few updates: a narrow ResNet and a short MobileNetV2, with group norm.

    Args:
        width: channels of the first layer of the ResNet, a multiple of 8; 16 is MobileNetV2's own width for the other.
        identity_size: length of the identity embedding.
        pose_size: length of the pose embedding.
    """
    stem = [nn.Conv2d(3, width, 3, 2, 1, bias=False), _group_norm(width), nn.ReLU(inplace=True)]
    stages = [_stage(width * 2**i, width * 2 ** (i + 1)) for i in range(3)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8 * width, identity_size)]
    pose_encoder = MobileNetV2(
        num_classes=pose_size,
        width_mult=width / 16,
        inverted_residual_setting=[list(stage) for stage in _STAGES],
        norm_layer=_group_norm,
        dropout=0.0,
    )
    return Embedder(nn.Sequential(*stem, *stages, *head), pose_encoder)


def _stage(before: int, after: int) -> nn.Module:
    around = nn.Sequential(nn.Conv2d(before, after, 1, 2, bias=False), _group_norm(after))
    return BasicBlock(before, after, 2, around, norm_layer=_group_norm)


def _group_norm(channels: int) -> nn.Module:
    """Groups of 16 channels, of 8 where 16 does not divide them: batch norm needs more updates than there are here."""
    return nn.GroupNorm(channels // (16 if channels % 16 == 0 else 8), channels)
