"""Golden values of convolutions, pools and normalisations of images: what PyTorch computes.

usage: python images.py OUT.jsonl [SEED]      (needs torch; written with 2.15.0)

The form of a line is described in modules.py. tests/suite/images.rs builds the same layer from the case's name, and its options from the words of it.
"""
import torch
from torch import nn
from modules import SEED, case, randn

torch.manual_seed(SEED)

# Convolutions: channels, kernel, options, shape of the input.
case("conv2d_plain", nn.Conv2d(3, 5, (3, 2)), randn(2, 3, 6, 7))
case("conv2d_strided", nn.Conv2d(2, 4, 3, stride=(2, 3), padding=(1, 2)), randn(3, 2, 7, 9))
case("conv2d_dilated", nn.Conv2d(2, 3, (3, 2), dilation=(2, 3), padding=(2, 1), bias=False), randn(2, 2, 7, 8))
case("conv2d_groups", nn.Conv2d(4, 6, 3, groups=2, padding=1), randn(2, 4, 5, 5))
case("conv2d_depthwise", nn.Conv2d(5, 5, 3, groups=5, stride=2, padding=1), randn(2, 5, 7, 6))
case("conv2d_same", nn.Conv2d(2, 3, (4, 3), padding="same"), randn(2, 2, 5, 7))
case("conv2d_same_dilated", nn.Conv2d(2, 3, (2, 3), padding="same", dilation=(3, 2)), randn(1, 2, 6, 5))
case("conv2d_point", nn.Conv2d(65, 3, 1), randn(2, 65, 3, 3))
case("conv2d_whole", nn.Conv2d(2, 65, (5, 3)), randn(3, 2, 5, 3))
case("conv2d_many", nn.Conv2d(1, 2, 3, padding=1), randn(129, 1, 3, 3))
case("conv2d_wide", nn.Conv2d(33, 17, 3, padding=1), randn(1, 33, 19, 17))
case("conv1d_plain", nn.Conv1d(3, 4, 3), randn(2, 3, 9))
case("conv1d_all", nn.Conv1d(4, 6, 3, stride=2, padding=3, dilation=2, groups=2), randn(3, 4, 11))
case("conv1d_same", nn.Conv1d(2, 2, 4, padding="same"), randn(2, 2, 7))
case("transposed2d_plain", nn.ConvTranspose2d(3, 2, (3, 2)), randn(2, 3, 4, 5))
case("transposed2d_all", nn.ConvTranspose2d(4, 6, (3, 4), stride=(2, 3), padding=(1, 2), output_padding=(1, 2), dilation=(2, 1), groups=2), randn(2, 4, 3, 4))
case("transposed2d_double", nn.ConvTranspose2d(2, 3, 2, stride=2, bias=False), randn(1, 2, 5, 3))
case("transposed1d_all", nn.ConvTranspose1d(3, 2, 3, stride=2, padding=1, output_padding=1), randn(2, 3, 6))
case("upsample", nn.Upsample(scale_factor=(2, 3), mode="nearest"), randn(2, 3, 4, 2))

# Pools. Values repeat, so that windows have several largest elements.
repeated = lambda *s: (randn(*s) * 2).round() / 2
case("max_plain", nn.MaxPool2d(2), repeated(2, 3, 6, 4))
case("max_all", nn.MaxPool2d((3, 2), stride=(2, 1), padding=(1, 1), dilation=(2, 3)), repeated(2, 2, 9, 8))
case("max_ceil", nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True), repeated(2, 2, 6, 7))
case("max_ceil_outside", nn.MaxPool2d(2, stride=3, padding=1, ceil_mode=True), repeated(1, 2, 4, 5))
case("max_overlapping", nn.MaxPool2d(3, stride=1), repeated(1, 65, 5, 5))
case("max1d_all", nn.MaxPool1d(3, stride=2, padding=1, dilation=2, ceil_mode=True), repeated(2, 3, 10))
case("average_plain", nn.AvgPool2d(2), randn(2, 3, 6, 5))
case("average_padded", nn.AvgPool2d(3, stride=2, padding=1), randn(2, 2, 7, 6))
case("average_inside", nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False), randn(2, 2, 7, 6))
case("average_ceil", nn.AvgPool2d((2, 3), stride=(3, 2), padding=(1, 1), ceil_mode=True), randn(2, 2, 6, 8))
case("average_ceil_inside", nn.AvgPool2d((3, 2), stride=2, padding=1, ceil_mode=True, count_include_pad=False), randn(2, 2, 6, 7))
case("average1d_all", nn.AvgPool1d(3, stride=2, padding=1, ceil_mode=True), randn(2, 3, 8))
case("adaptive_average", nn.AdaptiveAvgPool2d((3, 2)), randn(2, 3, 7, 5))
case("adaptive_average_more", nn.AdaptiveAvgPool2d((5, 4)), randn(2, 2, 3, 3))
case("adaptive_max", nn.AdaptiveMaxPool2d((3, 2)), repeated(2, 3, 7, 5))
case("global_average", nn.AdaptiveAvgPool2d(1), randn(129, 2, 5, 3))

# Normalisations by channel.
def random_affine(norm):
    norm.weight.data, norm.bias.data = randn(norm.weight.numel()), randn(norm.bias.numel())
    return norm

for training in [True, False]:
    suffix = "" if training else "_eval"
    case("batch_norm2d" + suffix, random_affine(nn.BatchNorm2d(3)).train(training), randn(4, 3, 5, 3) * 2 + 1)
    case("batch_norm2d_options" + suffix, nn.BatchNorm2d(2, eps=1e-2, momentum=0.4, affine=False).train(training), randn(2, 2, 3, 3))
case("group_norm", random_affine(nn.GroupNorm(2, 6)), randn(3, 6, 3, 4) + 0.5)
case("group_norm_of_all", nn.GroupNorm(1, 4, eps=1e-2, affine=False), randn(2, 4, 3, 3))
case("group_norm_of_rows", random_affine(nn.GroupNorm(1, 6)), randn(5, 6))
case("instance_norm", nn.InstanceNorm2d(3), randn(2, 3, 4, 5) * 3)
case("instance_norm_affine", random_affine(nn.InstanceNorm2d(3, affine=True, eps=1e-3)), randn(2, 3, 4, 5))
case("instance_norm1d", nn.InstanceNorm1d(4), randn(2, 4, 7))

case("network", nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6), nn.SiLU(),
                              nn.AvgPool2d(2), nn.Flatten(), nn.Linear(24, 3)), randn(5, 1, 8, 8))
