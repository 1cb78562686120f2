"""JPEG decoding on a CUDA device, for machines whose cores cannot keep their GPU busy."""

from __future__ import annotations

import io
import struct
import warnings
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from phototag.errors import RuntimeUnavailableError
from phototag.imaging import Decode, Preprocessing, in_srgb
from phototag.paths import PhotoPath

if TYPE_CHECKING:
    import torch

_ORIENTATION_TAG = 0x0112
_MODES = frozenset({"bicubic", "bilinear"})
# How far from the middle the grey of missing pixels lies, of 255.
_MISSING_WITHIN = 2
_START, _END = b"\xff\xd8", b"\xff\xd9"


class GpuJpegDecoder:
    """Decodes JPEG files in full on the device, and crops and shrinks them there; called from several threads.

    What the device's decoder does not take, and whatever is no plain JPEG file with its end in place, goes to
    `fallback`, file by file. Pixels differ a little from those of the CPU, which shrinks while it decodes.

    Args:
        preprocessing: What the pixels are for.
        fallback: Decodes on the CPU.
        device: A torch device.
        max_pixels: Larger pictures go to the fallback, which refuses them with the reason.

    Raises:
        RuntimeUnavailableError: this torchvision has no JPEG decoder.
    """

    def __init__(
        self, preprocessing: Preprocessing, fallback: Decode, *, device: str = "cuda", max_pixels: int
    ) -> None:
        # Its successor needs FFmpeg beside it, which no package brings along.
        warnings.filterwarnings("ignore", message="The image decoding and encoding capabilities of TorchVision")
        try:
            from torchvision.io import decode_jpeg  # noqa: F401
        except ImportError as error:
            raise RuntimeUnavailableError(
                f"this torchvision decodes no JPEG files ({error}); use --decode-on cpu"
            ) from error
        self._preprocessing, self._fallback = preprocessing, fallback
        self._device, self._max_pixels = device, max_pixels

    def __call__(self, data: bytes, path: PhotoPath) -> tuple[NDArray[np.uint8], int, int]:
        """Return pixels [size, size, 3] of a picture file's bytes, and its upright width and height.

        Raises:
            DecodeError: as the fallback does.
        """
        facts = self._facts(data)
        if facts is not None:
            orientation, profile = facts
            try:
                pixels, width, height = self._decode(data, orientation)
                return np.asarray(in_srgb(Image.fromarray(pixels), {"icc_profile": profile})), width, height
            except RuntimeError:
                pass  # a JPEG that this decoder does not know, damage, or no memory left on the device
        return self._fallback(data, path)

    def _facts(self, data: bytes) -> tuple[int, bytes | None] | None:
        """Return EXIF orientation, 1 to 8, and colour profile of a JPEG that the device may try; None for all else."""
        # A decoder on a GPU fills what is missing with grey and says nothing.
        complete = data.startswith(_START) and data.endswith(_END)
        if not complete or self._preprocessing.interpolation not in _MODES:
            return None
        try:
            with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
                if image.format != "JPEG" or image.mode not in ("RGB", "L"):
                    return None
                if image.width * image.height > self._max_pixels:
                    return None
                profile = image.info.get("icc_profile")
                if profile is not None and image.mode == "L":
                    return None  # the device gives three colours
                value = image.getexif().get(_ORIENTATION_TAG, 1)
        except (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error):
            return None
        return value if isinstance(value, int) and 1 <= value <= 8 else 1, profile

    def _decode(self, data: bytes, orientation: int) -> tuple[NDArray[np.uint8], int, int]:
        import torch
        from torch.nn import functional as F
        from torchvision.io import ImageReadMode, decode_jpeg

        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        with torch.inference_mode():
            whole = decode_jpeg(encoded, mode=ImageReadMode.RGB, device=self._device)
            if (whole[:, -1, -1].int() - 128).abs().max() <= _MISSING_WITHIN:
                raise RuntimeError("the last pixels may be missing")  # the CPU can tell
            height, width = whole.shape[1:]
            side = max(1, round(min(width, height) * self._preprocessing.crop))
            top, left = (height - side) // 2, (width - side) // 2
            centre = whole[None, :, top : top + side, left : left + side].float()
            size = self._preprocessing.size
            mode = self._preprocessing.interpolation
            small = F.interpolate(centre, size=(size, size), mode=mode, antialias=True, align_corners=False)
            upright = _upright(small[0].round().clamp(0, 255).to(torch.uint8), orientation)
            pixels = upright.permute(1, 2, 0).contiguous().cpu().numpy()
        return (pixels, height, width) if orientation >= 5 else (pixels, width, height)


def _upright(image: torch.Tensor, orientation: int) -> torch.Tensor:
    """Turn [3, H, W] as it is to be seen; the orientations are those of EXIF 2.32, tag 0x0112."""
    if orientation >= 5:
        image = image.transpose(1, 2)
    # After the transposition 5 is done, 6 is still mirrored left to right, 8 top to bottom, 7 both.
    flips = {2: [2], 3: [1, 2], 4: [1], 6: [2], 7: [1, 2], 8: [1]}.get(orientation, [])
    return image.flip(flips) if flips else image
