"""What happens to a picture on its way: noise, blur, blocks, exposure, white balance, too few pixels; from a seed, and only when asked for"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

KINDS = ("exposure", "balance", "blur", "small", "noise", "blocks")
BLOCK = 8     # pixels a side of the blocks of a picture stored too small

def _draws(n: int, seed: int, like: Tensor) -> Tensor:
    "n×6×3 uniform in [0, 1): for every picture and kind, whether, how much, and which"
    g = torch.Generator().manual_seed(seed)
    return torch.rand(n, len(KINDS), 3, generator=g, dtype=torch.float64).float().to(like.device)

def expose(image: Tensor, much: Tensor, which: Tensor) -> Tensor:
    "Too bright or too dark by up to one stop, and a flatter or steeper curve. image in [0, 1]; much, which: N×1×1×1 in [0, 1]"
    return (image.clamp(min=1e-4) ** torch.exp(0.6 * much * (2 * which - 1)) * torch.exp(0.35 * much * (2 * (7 * which % 1) - 1))).clamp(0, 1)

def balance(image: Tensor, much: Tensor, which: Tensor) -> Tensor:
    "A tint of any hue, and less colour"
    turn = 2 * math.pi * (which + torch.tensor([0.0, 1 / 3, 2 / 3], device=image.device).view(1, 3, 1, 1))
    grey = image.mean(1, keepdim=True)
    return torch.lerp(image, grey, 0.6 * much * (5 * which % 1)) * (1 + 0.22 * much * torch.cos(turn))

def blur(image: Tensor, much: Tensor, which: Tensor) -> Tensor:
    "Out of focus: a bell of up to 2.5 pixels in 128"
    size = image.shape[-1]
    half = max(1, round(size / 32))
    x = torch.arange(-half, half + 1, device=image.device, dtype=image.dtype)
    wide = (much[:, :, 0] * size / 65).clamp(min=0.2)
    bell = torch.exp(-0.5 * (x / wide) ** 2)
    bell = bell / bell.sum(-1, keepdim=True)                                             # N×1×K
    out = F.pad(image.transpose(0, 1), (half, half, half, half), mode="replicate")       # 3×N×H×W: one kernel a picture
    out = F.conv2d(out, bell[:, :, None], groups=len(image))
    return F.conv2d(out, bell[..., None], groups=len(image)).transpose(0, 1)

def small(image: Tensor, much: Tensor, which: Tensor) -> Tensor:
    "As if it had been stored with half, a third, a quarter of its pixels a side"
    size, out = image.shape[-1], image
    for times, low in ((2, 0.0), (3, 0.4), (4, 0.7)):
        less = F.interpolate(image, size=max(8, size // times), mode="area")
        less = F.interpolate(less, size=size, mode="bilinear", align_corners=False)
        out = torch.where(much > low, less, out)
    return out

def noise(image: Tensor, much: Tensor, which: Tensor, seed: int) -> Tensor:
    "Grains, finer and coarser, more in the shadows: up to 8 % of the range"
    n, _, h, w = image.shape
    fine = torch.randn(n, 3, h, w, generator=torch.Generator().manual_seed(seed)).to(image.device)
    coarse = F.interpolate(torch.randn(n, 1, h // 2, w // 2, generator=torch.Generator().manual_seed(seed + 1)).to(image.device), size=(h, w), mode="bilinear", align_corners=False)
    grain = torch.lerp(fine, fine.mean(1, keepdim=True) * 1.7, 0.5) * (1 - 0.5 * which) + coarse * which
    return image + 0.08 * much * grain * (1.2 - 0.7 * image)

def _waves(device: torch.device) -> Tensor:
    "The 8×8 cosine transform: rows are waves"
    k = torch.arange(BLOCK, device=device, dtype=torch.float32)
    waves = torch.cos((2 * k[None] + 1) * k[:, None] * math.pi / (2 * BLOCK)) * (2 / BLOCK) ** 0.5
    waves[0] /= 2 ** 0.5
    return waves

def blocks(image: Tensor, much: Tensor, which: Tensor) -> Tensor:
    """The traces of a JPEG file: blocks of 8×8 pixels whose cosine coefficients are rounded, the finer the coarser, colours more than light.

    The rounding lets gradients pass as if it were not there."""
    n, _, h, w = image.shape
    mix = torch.tensor([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]], device=image.device)
    down, across = -h % BLOCK, -w % BLOCK
    x = F.pad(torch.einsum("ij,njhw->nihw", mix, image), (0, across, 0, down), mode="replicate")
    x = x.view(n, 3, (h + down) // BLOCK, BLOCK, (w + across) // BLOCK, BLOCK)
    waves, k = _waves(image.device), torch.arange(BLOCK, device=image.device)
    coded = torch.einsum("ai,nchiwj,bj->nchawb", waves, x, waves)
    step = (0.02 + 0.10 * much.view(n, 1, 1, 1, 1, 1)) * (1 + 0.6 * (k[:, None, None] + k)) * torch.tensor([1.0, 2.0, 2.0], device=image.device).view(3, 1, 1, 1, 1)
    coded = coded + (torch.round(coded / step) * step - coded).detach()
    x = torch.einsum("ai,nchawb,bj->nchiwj", waves, coded, waves).reshape(n, 3, h + down, w + across)[..., :h, :w]
    return torch.einsum("ij,njhw->nihw", torch.linalg.inv(mix), x)

def nuisances(images: Tensor, seed: int, strength: float = 1.0, share: float = 0.5) -> Tensor:
    """The same pictures as a worse camera, file or moment would have given them; labels and landmarks stay valid.

    images: N×3×H×W in [-1, 1]; seed: the same seed does the same to the k-th picture of any pictures, so x and its counterfactual x* can be spoilt
    alike; strength: 0 (nothing) to 1; share: how often each of `KINDS` happens to a picture. Differentiable. Raises ValueError for values outside."""
    if images.ndim != 4 or images.shape[1] != 3: raise ValueError(f"nuisances takes pictures N×3×H×W and got {'×'.join(map(str, images.shape))}")
    if not 0 <= strength <= 1 or not 0 <= share <= 1: raise ValueError(f"strength and share lie between 0 and 1, not {strength} and {share}")
    draws = _draws(len(images), seed, images)[..., None, None, None]
    image = (images + 1) / 2
    for k, kind in enumerate((expose, balance, blur, small, noise, blocks)):
        happens, much, which = draws[:, k].unbind(1)
        spoilt = kind(image, strength * much, which, *((seed + 1,) if kind is noise else ()))
        image = torch.where((happens < share) & (strength > 0), spoilt, image)
    return image.clamp(0, 1) * 2 - 1
