"""One exposure of a board: where the camera stands, how it is lit, and what the sensor adds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from skillrun.data.painting import Theme, compose
from skillrun.data.pictures import Floats, Picture

if TYPE_CHECKING:
    import numpy as np

# Board pixels around a view that a turned or shifted exposure may need.
RIM = 4


@dataclass(frozen=True)
class Exposure:
    """How one picture is taken.

    Attributes:
        shift: of the board against the nominal place, in pixels, x and y.
        turn: rotation in degrees.
        gain: factor on the light.
        slope: relative change of light from one side to the other, x and y.
        blur: sigma of the lens in pixels.
        noise: sigma of the sensor in grey levels.
        silk_shift: of the printed legend against the copper, in pixels, x and y.
    """

    shift: tuple[float, float]
    turn: float
    gain: float
    slope: tuple[float, float]
    blur: float
    noise: float
    silk_shift: tuple[float, float]


def random_exposure(rng: np.random.Generator) -> Exposure:
    """An exposure within the tolerances of an inspection line."""

    def pair(reach: float) -> tuple[float, float]:
        x, y = rng.uniform(-reach, reach, size=2)
        return float(x), float(y)

    return Exposure(
        shift=pair(0.25),
        turn=float(rng.uniform(-0.1, 0.1)),
        gain=float(rng.uniform(0.96, 1.04)),
        slope=pair(0.05),
        blur=float(rng.uniform(0.3, 0.5)),
        noise=float(rng.uniform(1.0, 2.5)),
        silk_shift=pair(0.2),
    )


def see_layer(mask: Picture, size: int, scale: int, exposure: Exposure, *, silk: bool = False) -> Floats:
    """The coverage of one layer as the camera sees it.

    Args:
        mask: ((size + 2 * RIM) * scale) squared, uint8 0 or 255.
        size: side of the picture in pixels.
        scale: mask pixels to a picture pixel.
        exposure: gives shift and turn.
        silk: also apply the legend's own shift.

    Returns:
        (size, size) float32, 0..1.
    """
    import cv2
    import numpy as np

    centre = (mask.shape[1] / 2, mask.shape[0] / 2)
    matrix = cv2.getRotationMatrix2D(centre, exposure.turn, 1.0)
    own = exposure.silk_shift if silk else (0.0, 0.0)
    matrix[:, 2] += (np.asarray(exposure.shift) + np.asarray(own)) * scale
    matrix[:, 2] -= RIM * scale
    side = size * scale
    seen = cv2.warpAffine(mask, matrix, (side, side), flags=cv2.INTER_LINEAR)
    cover = cv2.resize(seen, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(cover, np.float32) / np.float32(255.0)


def expose(layers: dict[str, Floats], theme: Theme, exposure: Exposure, rng: np.random.Generator) -> Picture:
    """Light, lens and sensor: (height, width, 3) uint8 blue-green-red from layer coverages."""
    import cv2
    import numpy as np

    picture = compose(layers, theme)
    size = picture.shape[0]
    ramp = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    light = exposure.gain * (1.0 + exposure.slope[0] * ramp[None, :] + exposure.slope[1] * ramp[:, None])
    weave = cv2.GaussianBlur(rng.normal(0.0, 5.0, (size, size)).astype(np.float32), (0, 0), 1.6)
    lit = (picture + np.asarray(weave)[..., None]) * light[..., None].astype(np.float32)
    sharp = np.asarray(cv2.GaussianBlur(lit, (0, 0), exposure.blur), np.float32)
    noisy = sharp + rng.normal(0.0, exposure.noise, sharp.shape)
    return np.clip(np.round(noisy), 0, 255).astype(np.uint8)
