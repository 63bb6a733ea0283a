"""The shapes that bench/fan compares, with random weights and random token sequences of BFCL-like lengths."""
import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


@dataclass(frozen=True)
class Shape:
    hidden: int
    layers: int
    feed_forward: int
    heads: int
    kv_heads: int
    vocabulary: int
    shortest: int  # tokens of a trace
    longest: int
    tools: int
    traces: int  # of each tool
    epochs: int


SHAPES = {
    "tiny": Shape(128, 4, 352, 4, 2, 2048, 20, 250, tools=16, traces=24, epochs=2),
    "small": Shape(384, 6, 1024, 6, 2, 8192, 20, 250, tools=16, traces=8, epochs=2),
    "qwen0.5b": Shape(896, 24, 4864, 14, 2, 151936, 20, 250, tools=4, traces=1, epochs=2),
}


def write_model(shape: Shape, folder: Path, seed: int = 0) -> None:
    """A Qwen2 decoder in Hugging Face layout with tied embeddings; matrices normal with deviation 0.02, f32."""
    folder.mkdir(parents=True, exist_ok=True)
    head_dim = shape.hidden // shape.heads
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.feed_forward,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "max_position_embeddings": 32768,
        "max_window_layers": shape.layers,
        "vocab_size": shape.vocabulary,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "use_sliding_window": False,
        "torch_dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    rng = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(0.02)

    kv = shape.kv_heads * head_dim
    weights = {"model.embed_tokens.weight": matrix(shape.vocabulary, shape.hidden)}
    for layer in range(shape.layers):
        at = f"model.layers.{layer}"
        for name, rows in [("q", shape.hidden), ("k", kv), ("v", kv)]:
            weights[f"{at}.self_attn.{name}_proj.weight"] = matrix(rows, shape.hidden)
            weights[f"{at}.self_attn.{name}_proj.bias"] = np.zeros(rows, np.float32)
        weights[f"{at}.self_attn.o_proj.weight"] = matrix(shape.hidden, shape.hidden)
        weights[f"{at}.mlp.gate_proj.weight"] = matrix(shape.feed_forward, shape.hidden)
        weights[f"{at}.mlp.up_proj.weight"] = matrix(shape.feed_forward, shape.hidden)
        weights[f"{at}.mlp.down_proj.weight"] = matrix(shape.hidden, shape.feed_forward)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{at}.{norm}.weight"] = np.ones(shape.hidden, np.float32)
    weights["model.norm.weight"] = np.ones(shape.hidden, np.float32)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def write_sequences(shape: Shape, file: Path, seed: int = 0) -> None:
    """Lines {tool, prompt, completion}: lengths log-normal within the shape's bounds, a quarter of a trace is its call."""
    rng = random.Random(seed)
    middle = (shape.shortest * shape.longest) ** 0.5
    with file.open("w") as out:
        for trace in range(shape.traces):
            for tool in range(shape.tools):
                length = round(middle * rng.lognormvariate(0.25, 0.6))
                length = min(max(length, shape.shortest), shape.longest)
                completion = max(6, length // 4)
                ids = [rng.randrange(shape.vocabulary) for _ in range(length)]
                line = {"tool": f"tool-{tool:02}", "prompt": ids[:-completion], "completion": ids[-completion:]}
                out.write(json.dumps(line) + "\n")
