"""Convert images of other colour profiles to sRGB."""

import io
from functools import lru_cache
from typing import Any

from PIL import Image, ImageCms


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert an image of 8-bit RGB, with alpha or a palette too, from its ICC profile to sRGB.

    Images of other kinds, in sRGB already, or with a profile that cannot be read, are returned unchanged.
    """
    if image.mode == "P":
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode not in ("RGB", "RGBA"):
        return image
    transform = _to_srgb(profile, image.mode)
    return image if transform is None else ImageCms.applyTransform(image, transform) or image


@lru_cache(maxsize=32)  # the files of a data set share few profiles
def _to_srgb(profile: bytes, mode: str) -> Any:
    """Build the transform of a profile; None if there is nothing to do."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, mode)
    except (ImageCms.PyCMSError, OSError):  # damaged, or of other colours: as programs do, take it for sRGB
        return None
