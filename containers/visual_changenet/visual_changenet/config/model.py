"""``model``: backbone, decoder and the comparison of the two images."""

from __future__ import annotations

from typing import Literal

from visual_changenet.config.field import Float, Int, OptionalText, Section, section, setting

BackboneName = Literal[
    "fan_tiny_8_p4_hybrid",
    "fan_small_12_p4_hybrid",
    "fan_base_16_p4_hybrid",
    "fan_large_16_p4_hybrid",
    "vit_large_nvdinov2",
    "c_radio_v2_vit_base_patch16_224",
    "c_radio_v2_vit_large_patch16_224",
    "c_radio_v2_vit_huge_patch16_224",
    "c_radio_p1_vit_huge_patch16_224_mlpnorm",
    "c_radio_p2_vit_huge_patch16_224_mlpnorm",
    "c_radio_p3_vit_huge_patch16_224_mlpnorm",
]


class Backbone(Section):
    type: BackboneName = setting(
        "fan_small_12_p4_hybrid",
        "Feature extractor of both images; FAN is a hybrid pyramid, the others are vision transformers.",
    )
    pretrained_backbone_path: OptionalText = setting(
        "",
        "Pretrained weights of the backbone (.safetensors or .pth); empty trains from random weights.",
        path=("file", "in"),
    )
    freeze_backbone: bool = setting(
        False, "Keep the pretrained backbone weights fixed; needs pretrained_backbone_path."
    )
    feat_downsample: bool = setting(
        False, "Halve the last feature map of the backbone; must stay false for FAN backbones."
    )
    channel_norm: Literal["unbiased", "ordinary"] = setting(
        "unbiased",
        "Variance in the channel norms of a FAN stem: unbiased as in published CPU results, or ordinary layer norm.",
        skillrun_only=True,
    )


class DecodeHead(Section):
    in_channels: list[Int] = setting(
        [128, 256, 384, 384],
        "Channels of the four feature maps; replaced by the right ones of the chosen backbone.",
        low=1,
    )
    in_index: list[Int] = setting([0, 1, 2, 3], "Indices of the feature maps that the decoder reads.", low=0)
    feature_strides: list[Int] = setting(
        [4, 8, 16, 16],
        "Strides of the feature maps in pixels: [4, 8, 16, 16] for FAN, [4, 8, 16, 32] for all others.",
        low=1,
        length=4,
    )
    align_corners: bool = setting(False, "Align the corner pixels of input and output when feature maps are resized.")
    decoder_params: dict[str, Int] = setting(
        {"embed_dim": 256},
        "Width of the decoder in channels, given as embed_dim.",
        low=1,
        entries={"embed_dim": "Channels of the decoder feature maps."},
    )
    use_summary_token: bool = setting(
        False, "Mix the summary token of a C-RADIO backbone into its feature maps; must match the checkpoint."
    )


class ClassifyModel(Section):
    train_margin_euclid: Float = setting(
        2.0,
        "Margin of the contrastive loss: distance that defects are pushed beyond (no unit).",
        low=1.0,
        automl=True,
        search={"low": 1.0, "high": 5.0},
        depends_on="model.classify.difference_module=euclidean",
    )
    eval_margin: Float = setting(
        2.0,
        "Decision threshold, a score above it means NO_PASS: a probability for learnable, else a distance.",
        low=0.0,
        automl=True,
        search={"low": 0.05, "high": 0.95},
    )
    embedding_vectors: Int = setting(5, "Length of the embedding compared by the euclidean module.", low=1)
    embed_dec: Int = setting(5, "Channels of the decoder embedding of the learnable module.", low=1)
    learnable_difference_modules: Int = setting(
        4, "Number of feature levels that get a learnable difference module.", low=1, high=4, automl=True
    )
    difference_module: Literal["learnable", "euclidean"] = setting(
        "euclidean",
        "How the two images are compared: learnable (with loss ce) or euclidean (with loss contrastive).",
    )


class Model(Section):
    backbone: Backbone = section(Backbone, "Feature extractor shared by both images.")
    decode_head: DecodeHead = section(DecodeHead, "Decoder on the feature maps of the backbone.")
    classify: ClassifyModel = section(ClassifyModel, "Comparison of the two images for task classify.")
