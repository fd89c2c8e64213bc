"""ImageNet networks as pyramids of named maps: VGG-16, VGG-19 and AlexNet in torchvision's definitions and keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.models import alexnet
from torchvision.models.vgg import cfgs, make_layers

from reenact_zoo.types import InputError
from reenact_zoo.weights.store import WeightStore

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

VGG_RELU1 = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")  # the FOMM and PIRenderer lines
LPIPS_VGG = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
LPIPS_ALEX = ("relu1", "relu2", "relu3", "relu4", "relu5")

BackboneName = Literal["vgg16", "vgg19", "alex"]
ENTRIES: dict[str, str] = {"vgg16": "vgg16_imagenet", "vgg19": "vgg19_imagenet", "alex": "alexnet_imagenet"}


class FeaturePyramid(nn.Module):
    """Maps of chosen layers of a sequential network; images come in [0, 1] and are normalised here.

    Args:
        name: said by whoever uses the network.
        features: layers in their order; the state dict has torchvision's keys "features.N.*".
        names: of each layer of ``features`` that may be asked for, by its position.
        layers: the wanted ones.

    Raises:
        InputError: a wanted layer does not exist.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, features: nn.Sequential, names: dict[int, str], layers: Sequence[str]) -> None:
        super().__init__()
        unknown = [layer for layer in layers if layer not in names.values()]
        if unknown:
            raise InputError(f"{name} has no layer '{unknown[0]}'; it has {', '.join(names.values())}")
        self.name, self.layers = name, tuple(layers)
        self.features = features
        self._names = {index: layer for index, layer in names.items() if layer in layers}
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) RGB in [0, 1] → map of every wanted layer; nothing beyond the last one is computed."""
        x = (images - self.mean) / self.std
        maps = {}
        for index in range(max(self._names) + 1):
            x = self.features[index](x)
            if index in self._names:
                maps[self._names[index]] = x
        return maps


def vgg(depth: Literal[16, 19] = 19, layers: Sequence[str] = VGG_RELU1) -> FeaturePyramid:
    """VGG without batch normalisation (Simonyan and Zisserman, 2015, arXiv:1409.1556), with fresh weights.

    Layers are called relu<block>_<index>, as in the papers.
    """
    features = make_layers(cfgs["D" if depth == 16 else "E"])
    names, block, index = {}, 1, 0
    for position, layer in enumerate(features):
        if isinstance(layer, nn.MaxPool2d):
            block, index = block + 1, 0
        elif isinstance(layer, nn.ReLU):
            index += 1
            names[position] = f"relu{block}_{index}"
    return FeaturePyramid(f"vgg{depth}", features, names, layers)


def alex(layers: Sequence[str] = LPIPS_ALEX) -> FeaturePyramid:
    """AlexNet's convolutions (Krizhevsky, 2014, arXiv:1404.5997), with fresh weights; layers relu1 … relu5."""
    with torch.device("meta"):  # the classifier, which is not used, would take 220 MB
        features = alexnet(weights=None).features
    features = features.to_empty(device="cpu")
    names: dict[int, str] = {}
    for position, layer in enumerate(features):
        if isinstance(layer, nn.Conv2d):
            layer.reset_parameters()
        elif isinstance(layer, nn.ReLU):
            names[position] = f"relu{len(names) + 1}"
    return FeaturePyramid("alex", features, names, layers)


def pretrained(name: BackboneName, store: WeightStore | None = None, layers: Sequence[str] = ()) -> FeaturePyramid:
    """Frozen network in evaluation mode with ImageNet weights from the store; nothing is downloaded.

    Args:
        name: which network.
        store: where its weights lie (``ENTRIES``).
        layers: wanted maps; none: those LPIPS uses for vgg16 and alex, relu*_1 for vgg19.

    Raises:
        WeightsMissing: the file is not at hand.
        InputError: a wanted layer does not exist.
    """
    if name == "alex":
        network = alex(layers or LPIPS_ALEX)
    elif name == "vgg16":
        network = vgg(16, layers or LPIPS_VGG)
    else:
        network = vgg(19, layers or VGG_RELU1)
    (store or WeightStore()).load_into(network, ENTRIES[name])
    return network.eval().requires_grad_(False)
