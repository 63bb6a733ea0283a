#!/usr/bin/env python3
"""The peer of `runner bench fan`: one LoRA adapter after the other on pip's peft, batch 1, the same files, the same settings.

It is tuned as far as a loop of this kind goes: SDPA, fused AdamW, gradients set to none, logits only where something is learnt, the base
loaded once and the adapter reset for each tool, nothing computed again, adapters multiplied in the base's precision, no wait for the
device but at the end. --plain leaves logits at all rows, the default AdamW and peft's own casts, and reads every loss, as a first script
would. One JSON line for each file of sequences.
"""
import argparse
import json
import resource
import time

import torch
from peft import LoraConfig, get_peft_model
from peft.helpers import disable_input_dtype_casting
from transformers import AutoConfig, AutoModelForCausalLM

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def load(a: argparse.Namespace) -> torch.nn.Module:
    """The base with an adapter; peft keeps the adapter in f32 whatever the base is."""
    settings = {"dtype": DTYPES[a.precision], "attn_implementation": "sdpa"}
    if a.random is None:
        torch.manual_seed(0)
        base = AutoModelForCausalLM.from_pretrained(a.model, **settings).to(a.device)
    else:
        torch.manual_seed(a.random)
        with torch.device(a.device):
            base = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(a.model), **settings)
        draw_like_runner(base)
    config = LoraConfig(r=16, lora_alpha=64, lora_dropout=0.0, target_modules=["gate_proj", "up_proj", "down_proj"])
    model = get_peft_model(base, config)
    model.train()
    return model


@torch.no_grad()
def draw_like_runner(base: torch.nn.Module) -> None:
    """Gives matrices the deviation of the runner's, one over the root of their inputs, so that losses are alike; tables have 0.02."""
    table = base.get_input_embeddings().weight
    for module in base.modules():
        if isinstance(module, torch.nn.Linear) and module.weight is not table:
            module.weight.normal_(0.0, module.in_features**-0.5)


def synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


class Loop:
    """Trains an adapter for each tool of a file of sequences."""

    def __init__(self, a: argparse.Namespace) -> None:
        self.a = a
        started = time.perf_counter()
        self.model = load(a)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.first = [p.detach().clone() for p in self.trained]
        synchronize(a.device)
        self.load_seconds = time.perf_counter() - started

    def loss(self, prompt: list[int], completion: list[int]) -> torch.Tensor:
        ids = torch.tensor([prompt + completion], device=self.a.device)
        if self.a.plain:
            labels = ids.clone()
            labels[0, : len(prompt)] = -100
            return self.model(input_ids=ids, labels=labels).loss
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=self.a.precision == "bf16"):
            logits = self.model(input_ids=ids, use_cache=False, logits_to_keep=len(completion) + 1).logits[0, :-1]
            return torch.nn.functional.cross_entropy(logits, ids[0, len(prompt) :])

    def train(self, sequences: str) -> dict:
        a = self.a
        tools: dict[str, list] = {}
        for line in open(sequences):
            row = json.loads(line)
            tools.setdefault(row["tool"], []).append((row["prompt"], row["completion"]))
        if a.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats()
        tokens = done = 0
        last_losses = []
        started = time.perf_counter()
        for samples in tools.values():
            with torch.no_grad():
                for p, start in zip(self.trained, self.first):
                    p.copy_(start)
            fused = {"fused": True} if not a.plain else {}
            optimizer = torch.optim.AdamW(self.trained, lr=a.lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, **fused)
            for epoch in range(a.epochs):
                for prompt, completion in samples:
                    if done == a.warm_up:
                        synchronize(a.device)
                        tokens, started = 0, time.perf_counter()
                    loss = self.loss(prompt, completion)
                    loss.backward()
                    optimizer.step()
                    optimizer.zero_grad(set_to_none=True)
                    tokens += len(prompt) + len(completion)
                    done += 1
                    value = loss.item() if a.plain else loss.detach()
                    if epoch + 1 == a.epochs:
                        last_losses.append(value)
        synchronize(a.device)
        seconds = time.perf_counter() - started
        steps = done - a.warm_up
        return {
            "engine": "peft-plain" if a.plain else "peft",
            "device": a.device,
            "load_seconds": self.load_seconds,
            "seconds": seconds,
            "steps": steps,
            "tokens": tokens,
            "tokens_per_s": tokens / seconds,
            "steps_per_s": steps / seconds,
            "passes": steps,
            "mean_tokens_per_pass": tokens / steps,
            "mean_last_epoch_loss": sum(map(float, last_losses)) / len(last_losses),
            "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "peak_device_bytes": torch.cuda.max_memory_allocated() if a.device.startswith("cuda") else 0,
        }


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", required=True)
    ap.add_argument("--random", type=int, metavar="SEED", help="make the weights on the device; MODEL needs config.json alone")
    ap.add_argument("--sequences", required=True, action="append", help="may be given more than once")
    ap.add_argument("--epochs", type=int, default=1)
    ap.add_argument("--lr", type=float, default=1e-4)
    ap.add_argument("--precision", choices=DTYPES, default="f32", help="of the base")
    ap.add_argument("--device", default="cpu")
    ap.add_argument("--threads", type=int, default=0, help="threads of torch; 0: as many as there are cores")
    ap.add_argument("--warm-up", type=int, default=0, metavar="STEPS", help="first steps of each file, in no figure but the loss")
    ap.add_argument("--plain", action="store_true")
    a = ap.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    loop = Loop(a)
    with disable_input_dtype_casting(loop.model, active=not a.plain):
        for sequences in a.sequences:
            print(json.dumps(loop.train(sequences)), flush=True)


if __name__ == "__main__":
    main()
