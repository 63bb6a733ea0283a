#!/usr/bin/env python3
"""The peer of `runner bench fan`: one LoRA adapter after the other on pip's peft, batch 1, the same file, the same settings.

It is tuned as far as a loop of this kind goes: SDPA, fused AdamW, gradients set to none, logits only where something is learnt, the base
loaded once and the adapter reset for each tool. --plain leaves logits at all rows and the default AdamW, as a first script would.
"""
import argparse
import json
import resource
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM


def load(path: str, device: str):
    base = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="sdpa").to(device)
    config = LoraConfig(r=16, lora_alpha=64, lora_dropout=0.0, target_modules=["gate_proj", "up_proj", "down_proj"])
    model = get_peft_model(base, config)
    model.train()
    return model


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", required=True)
    ap.add_argument("--sequences", required=True)
    ap.add_argument("--epochs", type=int, default=1)
    ap.add_argument("--lr", type=float, default=1e-4)
    ap.add_argument("--device", default="cpu")
    ap.add_argument("--threads", type=int, default=0, help="threads of torch; 0: as many as there are cores")
    ap.add_argument("--plain", action="store_true")
    a = ap.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    tools: dict[str, list] = {}
    for line in open(a.sequences):
        row = json.loads(line)
        tools.setdefault(row["tool"], []).append((row["prompt"], row["completion"]))
    started = time.perf_counter()
    torch.manual_seed(0)
    model = load(a.model, a.device)
    trained = [p for p in model.parameters() if p.requires_grad]
    first = [p.detach().clone() for p in trained]
    load_seconds = time.perf_counter() - started
    tokens = steps = 0
    last_losses = []
    started = time.perf_counter()
    for samples in tools.values():
        with torch.no_grad():
            for p, start in zip(trained, first):
                p.copy_(start)
        optimizer = torch.optim.AdamW(trained, lr=a.lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, fused=not a.plain)
        for epoch in range(a.epochs):
            for prompt, completion in samples:
                ids = torch.tensor([prompt + completion], device=a.device)
                if a.plain:
                    labels = ids.clone()
                    labels[0, : len(prompt)] = -100
                    loss = model(input_ids=ids, labels=labels).loss
                else:
                    logits = model(input_ids=ids, logits_to_keep=len(completion) + 1).logits[0, :-1]
                    loss = torch.nn.functional.cross_entropy(logits, ids[0, len(prompt) :])
                loss.backward()
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                tokens += ids.shape[1]
                steps += 1
                value = loss.item()
                if epoch + 1 == a.epochs:
                    last_losses.append(value)
    seconds = time.perf_counter() - started
    print(
        json.dumps(
            {
                "engine": "peft-plain" if a.plain else "peft",
                "device": a.device,
                "load_seconds": load_seconds,
                "seconds": seconds,
                "steps": steps,
                "tokens": tokens,
                "tokens_per_s": tokens / seconds,
                "steps_per_s": steps / seconds,
                "passes": steps,
                "mean_tokens_per_pass": tokens / steps,
                "mean_last_epoch_loss": sum(last_losses) / len(last_losses),
                "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
