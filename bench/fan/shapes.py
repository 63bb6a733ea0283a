"""Decoder shapes with random weights, and random token sequences for them."""
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


@dataclass(frozen=True)
class Shape:
    """A Qwen2 decoder."""

    hidden: int
    layers: int
    feed_forward: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool = True  # the head is the embedding

    @property
    def kv(self) -> int:
        """Width of all keys of a token."""
        return self.hidden // self.heads * self.kv_heads


SHAPES = {
    "tiny": Shape(128, 4, 352, 4, 2, 2048),
    "small": Shape(384, 6, 1024, 6, 2, 8192),
    "qwen0.5b": Shape(896, 24, 4864, 14, 2, 151936),
}

# Tokens of prompt and completion, one pair after the other, drawn from what the random generator gives.
Lengths = Callable[[random.Random], Iterator[tuple[int, int]]]


def tool_calls(rng: random.Random, shortest: int = 20, longest: int = 250) -> Iterator[tuple[int, int]]:
    """Lengths like those of short tool calls: log-normal within bounds, a quarter of a trace is its call."""
    middle = (shortest * longest) ** 0.5
    while True:
        length = min(max(round(middle * rng.lognormvariate(0.25, 0.6)), shortest), longest)
        completion = max(6, length // 4)
        yield length - completion, completion


@dataclass(frozen=True)
class Load:
    """What is trained: so many tools with so many traces each."""

    tools: int
    traces: int
    epochs: int
    lengths: Lengths = tool_calls


def write_config(shape: Shape, folder: Path) -> None:
    """The config.json of a folder in Hugging Face layout."""
    folder.mkdir(parents=True, exist_ok=True)
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
        "tie_word_embeddings": shape.tied,
        "use_sliding_window": False,
        "torch_dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def write_model(shape: Shape, folder: Path, seed: int = 0) -> None:
    """Configuration and weights; matrices normal with deviation 0.02, f32."""
    write_config(shape, folder)
    rng = np.random.default_rng(seed)

    def matrix(rows: int, columns: int) -> np.ndarray:
        return rng.standard_normal((rows, columns), dtype=np.float32) * np.float32(0.02)

    weights = {"model.embed_tokens.weight": matrix(shape.vocabulary, shape.hidden)}
    for layer in range(shape.layers):
        at = f"model.layers.{layer}"
        for name, rows in [("q", shape.hidden), ("k", shape.kv), ("v", shape.kv)]:
            weights[f"{at}.self_attn.{name}_proj.weight"] = matrix(rows, shape.hidden)
            weights[f"{at}.self_attn.{name}_proj.bias"] = np.zeros(rows, np.float32)
        weights[f"{at}.self_attn.o_proj.weight"] = matrix(shape.hidden, shape.hidden)
        weights[f"{at}.mlp.gate_proj.weight"] = matrix(shape.feed_forward, shape.hidden)
        weights[f"{at}.mlp.up_proj.weight"] = matrix(shape.feed_forward, shape.hidden)
        weights[f"{at}.mlp.down_proj.weight"] = matrix(shape.hidden, shape.feed_forward)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{at}.{norm}.weight"] = np.ones(shape.hidden, np.float32)
    weights["model.norm.weight"] = np.ones(shape.hidden, np.float32)
    if not shape.tied:
        weights["lm_head.weight"] = matrix(shape.vocabulary, shape.hidden)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def write_sequences(load: Load, vocabulary: int, file: Path, seed: int = 0) -> list[int]:
    """Lines {tool, prompt, completion} of random ids; returns the tokens of each."""
    rng = random.Random(seed)
    lengths = load.lengths(rng)
    tokens = []
    with file.open("w") as out:
        for _ in range(load.traces):
            for tool in range(load.tools):
                prompt, completion = next(lengths)
                ids = [rng.randrange(vocabulary) for _ in range(prompt + completion)]
                line = {"tool": f"tool-{tool:02}", "prompt": ids[:prompt], "completion": ids[prompt:]}
                out.write(json.dumps(line) + "\n")
                tokens.append(len(ids))
    return tokens
