"""A projector that lets the default model see, in llama.cpp's sense: it has the right shape, and
weights at random. No package carries a real one that is small."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

TOKENS = 4
"""How many each image becomes."""
MODEL_WIDTH = 576
"""Of SmolLM2-135M's embeddings."""


def write_projector(
    path: Path, *, model_width: int = MODEL_WIDTH, tokens: int = TOKENS, seed: int = 1
) -> Path:
    """A vision transformer of one layer, with LLaVA's projector behind it."""
    width, inner, patch = 32, 64, 16
    side = patch * round(tokens**0.5)
    file = gguf.GGUFWriter(path, "clip")
    file.add_bool("clip.has_vision_encoder", True)
    file.add_string("clip.projector_type", "mlp")
    file.add_bool("clip.use_gelu", True)
    for key, number in {
        "image_size": side,
        "patch_size": patch,
        "embedding_length": width,
        "feed_forward_length": inner,
        "block_count": 2,  # LLaVA leaves the last one out
        "projection_dim": model_width,
        "attention.head_count": 2,
    }.items():
        file.add_uint32(f"clip.vision.{key}", number)
    file.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    for key in ("image_mean", "image_std"):
        file.add_array(f"clip.vision.{key}", [0.5, 0.5, 0.5])

    random = np.random.default_rng(seed)

    def tensor(name: str, *shape: int) -> None:
        file.add_tensor(name, (random.standard_normal(shape) * 0.05).astype(np.float32))

    tensor("v.patch_embd.weight", width, 3, patch, patch)
    tensor("v.position_embd.weight", tokens, width)
    for layer in ("v.blk.0", "v.blk.1"):
        for name, out, into in [
            ("attn_q", width, width),
            ("attn_k", width, width),
            ("attn_v", width, width),
            ("attn_out", width, width),
            ("ffn_up", inner, width),
            ("ffn_down", width, inner),
        ]:
            tensor(f"{layer}.{name}.weight", out, into)
            tensor(f"{layer}.{name}.bias", out)
        for name in ("ln1", "ln2"):
            tensor(f"{layer}.{name}.weight", width)
            tensor(f"{layer}.{name}.bias", width)
    for name, into in (("mm.0", width), ("mm.2", model_width)):
        tensor(f"{name}.weight", model_width, into)
        tensor(f"{name}.bias", model_width)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return path
