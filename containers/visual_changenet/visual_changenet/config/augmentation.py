"""Augmentation sections shared by the two tasks; geometry is always drawn once for both images of a pair."""

from __future__ import annotations

from visual_changenet.config.field import Float, Int, Section, section, setting


class RandomFlip(Section):
    enable: bool = setting(True, "Flip both images of a pair at random.", automl=True)
    hflip_probability: Float = setting(0.5, "Probability of a horizontal flip, 0 to 1.", low=0.0, high=1.0, automl=True)
    vflip_probability: Float = setting(0.5, "Probability of a vertical flip, 0 to 1.", low=0.0, high=1.0, automl=True)


class RandomRotate(Section):
    enable: bool = setting(True, "Rotate both images of a pair at random.", automl=True)
    rotate_probability: Float = setting(0.5, "Probability of a rotation, 0 to 1.", low=0.0, high=1.0, automl=True)
    angle_list: list[Float] = setting([90, 180, 270], "Angles to choose from, in degrees counter-clockwise.")


class RandomColor(Section):
    enable: bool = setting(True, "Change brightness, contrast, saturation and hue at random.", automl=True)
    brightness: Float = setting(
        0.3,
        "Largest relative change of brightness; 0.3 draws factors from 0.7 to 1.3.",
        low=0.0,
        high=2.0,
        automl=True,
        math_cond="> 0.0",
        search={"low": 0.01, "high": 0.6},
    )
    contrast: Float = setting(
        0.3,
        "Largest relative change of contrast; 0.3 draws factors from 0.7 to 1.3.",
        low=0.0,
        high=2.0,
        automl=True,
        math_cond="> 0.0",
        search={"low": 0.01, "high": 0.6},
    )
    saturation: Float = setting(
        0.3,
        "Largest relative change of saturation; 0.3 draws factors from 0.7 to 1.3.",
        low=0.0,
        high=2.0,
        automl=True,
        math_cond="> 0.0",
        search={"low": 0.01, "high": 0.6},
    )
    hue: Float = setting(
        0.3,
        "Largest shift of hue as a fraction of the colour circle, 0 to 0.5.",
        low=0.0,
        high=0.5,
        automl=True,
        math_cond="> 0.0",
        search={"low": 0.01, "high": 0.5},
    )
    color_probability: Float = setting(0.5, "Probability of a colour change, 0 to 1.", low=0.0, high=1.0, automl=True)


class ScaleRandomCrop(Section):
    enable: bool = setting(True, "Enlarge both images by one factor and crop back to size.", automl=True)
    scale_range: list[Float] = setting(
        [1, 1.2], "Smallest and largest scale factor, 1 keeps the size.", low=0.0, length=2
    )


class ClassifyAugmentation(Section):
    rgb_input_mean: list[Float] = setting(
        [0.485, 0.456, 0.406], "Mean of the red, green and blue channel, on the scale 0 to 1.", length=3
    )
    rgb_input_std: list[Float] = setting(
        [0.229, 0.224, 0.225], "Standard deviation of red, green and blue, on the scale 0 to 1.", length=3
    )
    augment: bool = setting(False, "Augment the training pairs; false only resizes them.", automl=True)
    random_flip: RandomFlip = section(RandomFlip, "Random flips, the same for both images.")
    random_rotate: RandomRotate = section(RandomRotate, "Random rotation, the same for both images.")
    random_color: RandomColor = section(RandomColor, "Random colour change, the same for both images.")
    with_scale_random_crop: ScaleRandomCrop = section(ScaleRandomCrop, "Random enlargement with a crop back to size.")
    with_random_crop: bool = setting(True, "Crop a random part and resize it back, the same for both images.")
    with_random_blur: bool = setting(True, "Blur both images by one random radius of 0 to 1 pixel.")
    random_shift: Int = setting(
        0,
        "Largest random translation in pixels, drawn once for both images of a pair.",
        low=0,
        high=64,
        skillrun_only=True,
    )


class SegmentAugmentation(Section):
    random_flip: RandomFlip = section(RandomFlip, "Random flips, the same for both images and the mask.")
    random_rotate: RandomRotate = section(RandomRotate, "Random rotation, the same for images and mask.")
    random_color: RandomColor = section(RandomColor, "Random colour change of the images.")
    with_scale_random_crop: ScaleRandomCrop = section(ScaleRandomCrop, "Random enlargement with a crop back to size.")
    with_random_crop: bool = setting(True, "Crop a random part and resize it back, the same for all images.")
    with_random_blur: bool = setting(True, "Blur both images by one random radius of 0 to 1 pixel.")
    mean: list[Float] = setting(
        [0.5, 0.5, 0.5], "Mean of the red, green and blue channel, on the scale 0 to 1.", length=3
    )
    std: list[Float] = setting(
        [0.5, 0.5, 0.5], "Standard deviation of red, green and blue, on the scale 0 to 1.", length=3
    )
