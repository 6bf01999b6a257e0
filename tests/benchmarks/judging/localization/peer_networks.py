"""Two networks of the kinds that others publish, written anew: what ours is measured against after the same training.

Both take three frames, the newest last, and the four numbers of ``localization.sight`` as constant images; they answer
with the raw maps that ours makes. Sizes and order of layers are those published; outputs and causal context are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from smartscope_models.localization.sight import CONDITIONS
from smartscope_models.training.localizer import FLAT_HEADS, LocalizerSizes

FRAMES = 3
FIRST = {"probability": -5.0, "photons": 6.5, "x_error": 2.5, "y_error": 2.5, "photons_error": 2.0}
"""As ours begins: hardly a molecule anywhere, usual photons, large errors; all else 0."""


class PeerNetwork(nn.Module):
    """What training and judging need of a network: ``stem``, ``features`` and ``sizes`` as ours has them."""

    per_frame: nn.Module
    """The part that is run on each frame alone, whose answer can be kept for the next two."""
    sizes = LocalizerSizes()

    def stem(self, frame: Tensor) -> Tensor:
        """(B, 1, H, W) → the same: frames that are not there are black to the peers, as their stems are to ours."""
        return frame

    def features(self, frames: Tensor, conditions: Tensor) -> Tensor:
        """(B, 3, H, W), (B, CONDITIONS) → (B, 4 heads, H/2, W/2), raw, as ours answers; convolutions in bfloat16."""
        with torch.autocast(frames.device.type, torch.bfloat16):
            return functional.pixel_unshuffle(self(frames, conditions), 2)

    def forward(self, frames: Tensor, conditions: Tensor) -> Tensor:
        """frames (B, 3, H, W), conditions (B, CONDITIONS) → raw maps (B, heads, H, W)."""
        raise NotImplementedError


class Stage(nn.Sequential):
    """Twice a 3 x 3 convolution and an exponential linear unit."""

    def __init__(self, given: int, made: int) -> None:
        convolutions = nn.Conv2d(given, made, 3, padding=1), nn.Conv2d(made, made, 3, padding=1)
        super().__init__(convolutions[0], nn.ELU(), convolutions[1], nn.ELU())


class UNet(nn.Module):
    """Two levels down and up (Ronneberger et al., MICCAI 2015); down by strides, up bilinearly and by 1 x 1."""

    def __init__(self, given: int, features: int) -> None:
        super().__init__()
        one, two, four = features, 2 * features, 4 * features
        self.fine, self.middle, self.coarse = Stage(given, one), Stage(one, two), Stage(two, four)
        self.halve_fine, self.halve_middle = (nn.Conv2d(size, size, 2, stride=2) for size in (one, two))
        self.widen_coarse, self.widen_middle = nn.Conv2d(four, two, 1), nn.Conv2d(two, one, 1)
        self.middle_again, self.fine_again = Stage(four, two), Stage(two, one)
        self.end = nn.Conv2d(one, features, 1)

    def forward(self, image: Tensor) -> Tensor:
        """(B, given, H, W) → (B, features, H, W); H and W are multiples of 4."""
        fine = self.fine(image)
        middle = self.middle(self.halve_fine(fine))
        coarse = self.coarse(self.halve_middle(middle))
        middle = self.middle_again(torch.cat([middle, self.widen_coarse(doubled(coarse))], dim=1))
        fine = self.fine_again(torch.cat([fine, self.widen_middle(doubled(middle))], dim=1))
        out: Tensor = self.end(fine)
        return out


def begin(network: nn.Module) -> None:
    """First weights of He et al., ICCV 2015, which both publish; the last convolutions begin as ours does."""
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d) and not name.startswith("answers.after"):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)


def doubled(image: Tensor, mode: str = "bilinear") -> Tensor:
    """Twice as many pixels along each edge."""
    return functional.interpolate(image, scale_factor=2, mode=mode)


class Answers(nn.Module):
    """Probability, places with brightness, their errors, background: each group after a convolution of its own."""

    def __init__(self, features: int, groups: tuple[tuple[str, ...], ...]) -> None:
        super().__init__()
        self.groups = groups
        self.before = nn.ModuleList(nn.Conv2d(features, features, 3, padding=1) for _ in groups)
        self.after = nn.ModuleList(nn.Conv2d(features, len(group), 1) for group in groups)
        names = [name for group in groups for name in group]
        self.order = [names.index(name) for name in FLAT_HEADS if name in names]
        with torch.no_grad():
            for group, last in zip(groups, self.after, strict=True):
                last.weight.normal_(std=0.02)
                last.bias.copy_(torch.tensor([FIRST.get(name, 0.0) for name in group]))

    def forward(self, features: Tensor) -> Tensor:
        """(B, features, H, W) → (B, heads, H, W) in the order of ``FLAT_HEADS``."""
        pairs = zip(self.before, self.after, strict=True)
        maps = torch.cat([after(functional.elu(before(features))) for before, after in pairs], dim=1)
        return torch.cat([maps[:, place : place + 1] for place in self.order], dim=1)


class DecodeClass(PeerNetwork):
    """Two U-Nets, one for each frame and one over three of them (Speiser et al., Nat Methods 18:1082, 2021)."""

    GROUPS = (("probability",), ("x", "y", "photons"), ("x_error", "y_error", "photons_error"), ("background",))

    def __init__(self, features: int = 48, conditions: int = CONDITIONS) -> None:
        super().__init__()
        self.per_frame = UNet(1 + conditions, features)
        self.together = UNet(FRAMES * features, features)
        self.answers = Answers(features, self.GROUPS)
        begin(self)

    def forward(self, frames: Tensor, conditions: Tensor) -> Tensor:
        """As of ``PeerNetwork``."""
        each = self.per_frame(with_conditions(frames, conditions))
        together = self.together(each.unflatten(0, (-1, FRAMES)).flatten(1, 2))
        out: Tensor = self.answers(together)
        return out


class Convolved(nn.Sequential):
    """3 x 3 convolution, rectified, then normalised over the batch."""

    def __init__(self, given: int, made: int, dilation: int = 1) -> None:
        convolution = nn.Conv2d(given, made, 3, padding=dilation, dilation=dilation)
        super().__init__(convolution, nn.ReLU(), normalised(made))


def normalised(channels: int) -> nn.BatchNorm2d:
    """Over the batch; how many it has seen is counted in floats, which can be averaged like weights."""
    norm = nn.BatchNorm2d(channels)
    norm.num_batches_tracked = torch.tensor(0.0)
    return norm


class FrameFeatures(nn.Module):
    """Half as many pixels along each edge; two convolutions that keep seeing the first one's answer."""

    def __init__(self, given: int, width: int) -> None:
        super().__init__()
        self.normalised, self.first = normalised(given), Convolved(given, width)
        self.steps = nn.ModuleList([Convolved(width, width), Convolved(2 * width, width), Convolved(2 * width, width)])

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, given, H, W) → features and what they were made of, (B, width, H/2, W/2) each."""
        seen = functional.max_pool2d(self.first(self.normalised(image)), 2)
        found = self.steps[0](seen)
        for step in list(self.steps)[1:]:
            found = step(torch.cat([found, seen], dim=1)) + found
        return found, seen


class LiteLocClass(PeerNetwork):
    """Dilated convolutions at half resolution, one level of a U-Net there (Fei et al., Nat Commun 16, 2025)."""

    GROUPS = (
        ("probability",),
        ("x", "y", "photons", "background"),
        ("x_error", "y_error", "photons_error"),
    )

    def __init__(self, width: int = 64, conditions: int = CONDITIONS) -> None:
        super().__init__()
        self.per_frame = FrameFeatures(1 + conditions, width)
        self.joined = Convolved((FRAMES + 1) * width, width)
        self.dilated = nn.ModuleList(Convolved(2 * width, width, dilation) for dilation in (2, 4, 8, 16))
        self.down = Convolved(2 * width, width)
        self.below = nn.Sequential(
            Convolved(width, width), Convolved(width, 2 * width), Convolved(2 * width, 2 * width)
        )
        self.up = Convolved(2 * width, width)
        self.merged = nn.Sequential(Convolved(2 * width, width), Convolved(width, width))
        self.full = nn.Sequential(Convolved(width, width), Convolved(width, width))
        self.answers = Answers(width, self.GROUPS)
        begin(self)

    def forward(self, frames: Tensor, conditions: Tensor) -> Tensor:
        """As of ``PeerNetwork``."""
        found, seen = (part.unflatten(0, (-1, FRAMES)) for part in self.per_frame(with_conditions(frames, conditions)))
        newest = seen[:, -1]
        out = self.joined(torch.cat([found.flatten(1, 2), newest], dim=1)) + found[:, -1]
        out = self._coarse(out, newest)
        beside = self.down(torch.cat([out, newest], dim=1))
        below = self.up(doubled(self.below(functional.avg_pool2d(beside, 2)), "nearest"))
        merged = self.merged(torch.cat([below, beside], dim=1))
        maps: Tensor = self.answers(self.full(doubled(merged, "nearest")))
        return maps

    def _coarse(self, out: Tensor, newest: Tensor) -> Tensor:
        kept = []
        for step in self.dilated:
            out = step(torch.cat([out, newest], dim=1)) + out
            kept.append(out)
        return out + kept[0]


def with_conditions(frames: Tensor, conditions: Tensor) -> Tensor:
    """(B, 3, H, W), (B, C) → (3 B, 1 + C, H, W): each frame for itself, with its conditions as images."""
    number, count, height, width = frames.shape
    flat = frames.reshape(number * count, 1, height, width)
    told = conditions.repeat_interleave(count, 0)[:, :, None, None].expand(-1, -1, height, width)
    return torch.cat([flat, told], dim=1)


PEER_NETWORKS: dict[str, type[PeerNetwork]] = {"decode_class": DecodeClass, "liteloc_class": LiteLocClass}
