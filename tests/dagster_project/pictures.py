"""What tests of plots look at."""

import io

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from dagster_project.plots.style import png_of


def picture(figure: Figure, *, tallest: int = 1200) -> np.ndarray:
    """The pixels, once they make a PNG file of a size that suits a page."""
    png = png_of(figure)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    assert 100 < pixels.shape[0] < tallest
    assert 400 < pixels.shape[1] < 1300
    return pixels


def assert_not_clipped(pixels: np.ndarray) -> None:
    # What is cut off touches the edge of the picture; the margin around it is white.
    for edge in (pixels[:2], pixels[-2:], pixels[:, :2], pixels[:, -2:]):
        assert (edge == 255).all()
