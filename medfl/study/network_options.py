"""The networks that a study may name, with their arguments; `medfl.clients.networks` builds them."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from medfl.schema import Levels, Number, Section, Sizes

Norm = Literal["instance", "group", "batch", "batch-frozen"]


class NetworkOptions(Section):
    """What all networks have."""

    norm: Norm = "instance"
    dropout: Annotated[Number, Field(ge=0, lt=1)] = 0.0

    def divisors(self, axes: int) -> tuple[int, ...]:
        """Return of what number each side of an input must be a multiple, for images with this number of axes."""
        return (1,) * axes


class UNet(NetworkOptions):
    """`monai.networks.nets.UNet`: residual U-Net (Kerfoot et al. 2018), the light choice for CPUs and tests."""

    name: Literal["unet"] = "unet"
    channels: Sizes = (16, 32, 64, 128)
    strides: Sizes = ()  # empty: 2 at every level
    residual_units: Annotated[int, Field(ge=0, le=8)] = 2

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        if len(self.channels) < 2:
            raise ValueError("'channels' needs at least two numbers, one per level")
        if self.strides and len(self.strides) != len(self.channels) - 1:
            raise ValueError("'strides' needs one number less than 'channels', or none at all")
        return self

    def divisors(self, axes: int) -> tuple[int, ...]:
        """Return of what number each side of an input must be a multiple, for images with this number of axes."""
        return (math.prod(self.strides) if self.strides else 2 ** (len(self.channels) - 1),) * axes


class BasicUNet(NetworkOptions):
    """`monai.networks.nets.BasicUNet`: the U-Net of Falk et al. 2019; six feature numbers."""

    name: Literal["basic-unet"] = "basic-unet"
    features: Sizes = (32, 32, 64, 128, 256, 32)

    @model_validator(mode="after")
    def _check_six(self) -> Self:
        if len(self.features) != 6:
            raise ValueError("'features' needs six numbers")
        return self

    def divisors(self, axes: int) -> tuple[int, ...]:
        """Return of what number each side of an input must be a multiple, for images with this number of axes."""
        return (16,) * axes


class DynUNet(NetworkOptions):
    """`monai.networks.nets.DynUNet`: the network of nnU-Net (Isensee et al. 2021), without deep supervision."""

    name: Literal["dynunet"] = "dynunet"
    filters: Sizes = (32, 64, 128, 256)
    strides: Levels = ()  # of each level and axis, the first 1; empty: 2 at every level but the first
    kernels: Levels = ()  # of each level and axis, 1 along a coarse axis; empty: 3
    residual: bool = False

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        if len(self.filters) < 3:
            raise ValueError("'filters' needs at least three numbers, one per level")
        for name, levels in (("strides", self.strides), ("kernels", self.kernels)):
            if levels and len(levels) != len(self.filters):
                raise ValueError(f"'{name}' needs as many levels as 'filters', or none at all")
        if any(number != 1 for level in self.strides[:1] for number in level):
            raise ValueError("'strides' begins with a level of 1, where the network sees its input in full")
        if any(number % 2 == 0 for level in self.kernels for number in level):
            raise ValueError("'kernels' must be odd, so that a convolution has a middle")
        return self

    def divisors(self, axes: int) -> tuple[int, ...]:
        """Return of what number each side of an input must be a multiple, for images with this number of axes."""
        if not self.strides:
            return (2 ** (len(self.filters) - 1),) * axes
        return tuple(math.prod(axis) for axis in zip(*self.strides, strict=True))


class SegResNet(NetworkOptions):
    """`monai.networks.nets.SegResNet` (Myronenko 2018)."""

    name: Literal["segresnet"] = "segresnet"
    norm: Norm = "group"
    filters: Annotated[int, Field(ge=8, multiple_of=8)] = 16

    def divisors(self, axes: int) -> tuple[int, ...]:
        """Return of what number each side of an input must be a multiple, for images with this number of axes."""
        return (8,) * axes


class SwinUNETR(NetworkOptions):
    """`monai.networks.nets.SwinUNETR` (Hatamizadeh et al. 2022)."""

    name: Literal["swin-unetr"] = "swin-unetr"
    features: Annotated[int, Field(ge=12, multiple_of=12)] = 24

    def divisors(self, axes: int) -> tuple[int, ...]:
        """Return of what number each side of an input must be a multiple, for images with this number of axes."""
        return (32,) * axes


class UNETR(NetworkOptions):
    """`monai.networks.nets.UNETR` (Hatamizadeh et al. 2022)."""

    name: Literal["unetr"] = "unetr"
    features: Annotated[int, Field(ge=4)] = 16
    hidden: Annotated[int, Field(ge=12)] = 192
    heads: Annotated[int, Field(ge=1)] = 12

    def divisors(self, axes: int) -> tuple[int, ...]:
        """Return of what number each side of an input must be a multiple, for images with this number of axes."""
        return (16,) * axes


class DenseNet121(NetworkOptions):
    """`monai.networks.nets.DenseNet121` (Huang et al. 2017)."""

    name: Literal["densenet121"] = "densenet121"


class ResNet(NetworkOptions):
    """`monai.networks.nets.resnet10` and `resnet18`, `34`, `50` (He et al. 2016)."""

    name: Literal["resnet"] = "resnet"
    depth: Literal[10, 18, 34, 50] = 18
    width: Annotated[Number, Field(gt=0, le=2)] = 1.0


class EfficientNet(NetworkOptions):
    """`monai.networks.nets.EfficientNetBN` (Tan and Le 2019), its normalisation layers replaced by `norm`."""

    name: Literal["efficientnet"] = "efficientnet"
    size: Literal["b0", "b1", "b2", "b3", "b4"] = "b0"


class ViT(NetworkOptions):
    """`monai.networks.nets.ViT` (Dosovitskiy et al. 2021); it has layer norms only."""

    name: Literal["vit"] = "vit"
    patch: Annotated[int, Field(ge=4)] = 16
    hidden: Annotated[int, Field(ge=12)] = 192
    layers: Annotated[int, Field(ge=1)] = 6
    heads: Annotated[int, Field(ge=1)] = 6


class SmallCNN(NetworkOptions):
    """A stack of strided `monai.networks.blocks.ResidualUnit` and a global mean, small enough for CPUs."""

    name: Literal["cnn"] = "cnn"
    channels: Sizes = (16, 32, 64, 128)
    residual_units: Annotated[int, Field(ge=0, le=8)] = 2

    @model_validator(mode="after")
    def _check_levels(self) -> Self:
        if not self.channels:
            raise ValueError("'channels' needs at least one number, one per level")
        return self


SegmentationNetwork = UNet | BasicUNet | DynUNet | SegResNet | SwinUNETR | UNETR
ClassificationNetwork = DenseNet121 | ResNet | EfficientNet | ViT | SmallCNN
Network = Annotated[SegmentationNetwork | ClassificationNetwork, Field(discriminator="name")]

NETWORKS_BY_KIND = {
    "segmentation": ("unet", "basic-unet", "dynunet", "segresnet", "swin-unetr", "unetr"),
    "classification": ("densenet121", "resnet", "efficientnet", "vit", "cnn"),
}
