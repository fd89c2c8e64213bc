"""Still images and folders of them: whatever a camera, a scanner or an editor wrote → (H, W, 3) uint8 RGB."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from reenact_zoo.types import InputError

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".webp", ".bmp", ".tif", ".tiff"})
FRAME_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
MID_GREY = (128, 128, 128)


def is_image(path: Path) -> bool:
    """Whether the name says still image; animated GIF counts as video."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def read_image(path: str | Path) -> NDArray[np.uint8]:
    """Read a still image as (H, W, 3) RGB, turned upright by its EXIF orientation.

    Transparency is laid over mid-grey (128), so that no background colour is favoured. Grey is repeated to three
    channels. 16-bit values are scaled to 8 bits. CMYK goes through the file's own colour profile where there is one;
    every other file is taken as sRGB. Of an animation or a multi-page file the first picture is read.

    Raises:
        InputError: missing, a folder, empty, not an image, truncated, or too large for Pillow's safety limit.
    """
    path = Path(path)
    check_is_file(path)
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            return _to_rgb(upright)
    except UnidentifiedImageError as error:
        raise InputError(f"'{path}' is not an image; give a PNG, JPEG, WebP, BMP or TIFF file") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"'{path}' has too many pixels to be read safely; scale it down first") from error
    except PermissionError as error:
        raise InputError(f"'{path}' may not be read; change its permissions") from error
    except (OSError, SyntaxError, ValueError, MemoryError) as error:  # Pillow believes what a broken chunk says
        raise InputError(f"'{path}' is damaged or truncated ({error}); save or download it again") from error


def check_is_file(path: Path) -> None:
    """Raise the one-line error for what is missing, a folder, or empty."""
    try:
        size = path.stat().st_size if path.is_file() else None
    except OSError as error:
        raise InputError(f"'{path}' cannot be reached ({error.strerror})") from error
    if size is None:
        if path.is_dir():
            raise InputError(f"'{path}' is a folder; give a file")
        if path.exists():
            raise InputError(f"'{path}' is not an ordinary file")
        raise InputError(f"no such file: '{path}'; check the path")
    if size == 0:
        raise InputError(f"'{path}' is empty (0 bytes)")


def frame_paths(folder: str | Path) -> list[Path]:
    """PNG and JPEG files of a folder in natural order (frame2 before frame10); hidden files are left out.

    Raises:
        InputError: no such folder, or no frame in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"no such folder: '{folder}'; check the path")
    paths = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in FRAME_SUFFIXES and not path.name.startswith(".") and path.is_file()
    ]
    if not paths:
        raise InputError(f"the folder '{folder}' holds no PNG or JPEG frames")
    return sorted(paths, key=lambda path: natural_key(path.name))


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key under which numbers inside a name count as numbers; ties keep the plain order."""
    parts = re.split(r"(\d+)", name)
    return (*((0, int(p), "") if p.isdecimal() else (1, 0, p.casefold()) for p in parts), (2, 0, name))


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) after EXIF rotation, from the header alone."""
    check_is_file(path)
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
    except (OSError, SyntaxError, ValueError, MemoryError, Image.DecompressionBombError) as error:
        raise InputError(f"'{path}' is not a readable image ({error})") from error
    return (height, width) if turned else (width, height)


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _grey_from_wide(image)
    if image.mode == "CMYK":
        image = _from_cmyk(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        backdrop = Image.new("RGBA", rgba.size, (*MID_GREY, 255))
        image = Image.alpha_composite(backdrop, rgba)
    return np.array(image.convert("RGB"))  # a copy: Pillow's own buffer is read-only


def _grey_from_wide(image: Image.Image) -> NDArray[np.uint8]:
    """Grey of more than 8 bits: 0 … 65535 integers, or floats in [0, 1]."""
    values = np.asarray(image)
    top = 1.0 if image.mode == "F" else 65535.0
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > top:
        raise InputError(f"a grey image of mode {image.mode} must lie in [0, {top:g}]; convert it to an 8-bit PNG")
    grey = np.rint(values.astype(np.float64) * (255.0 / top)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _from_cmyk(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile:
        try:
            own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            converted = None  # a broken profile is no reason to refuse the picture
        if converted is not None:
            return converted
    return image.convert("RGB")
