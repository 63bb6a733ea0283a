#!/usr/bin/env python3
"""Opens an adapter that Quiver exported in peft and compares the logits that transformers computes with those that the runner computes.

Usage: same_logits.py --runner PATH [--reference DIR]
Needs torch, transformers and peft. Exit 1 when a logit differs by more than 2e-4.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

TOLERANCE = 2e-4


def main() -> int:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--runner", required=True)
    ap.add_argument("--reference", type=Path, default=Path(__file__).resolve().parents[2] / "../shared/data/reference")
    a = ap.parse_args()
    if not a.reference.is_dir():
        print(f"skipped: {a.reference} not found")
        return 0
    worst = 0.0
    for family in ("qwen2", "llama3", "qwen3"):
        folder = a.reference / family
        with tempfile.TemporaryDirectory() as out:
            # Import an adapter, export it again, and let the runner compute logits with its own copy.
            command = [a.runner, "peft", folder / "model", folder / "adapters/tool-1", "--export", f"{out}/adapter",
                       "--ids", folder / "golden.safetensors", "--logits", f"{out}/logits.safetensors"]
            subprocess.run([str(c) for c in command], check=True)
            model = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32)
            model = PeftModel.from_pretrained(model, f"{out}/adapter").eval()
            ids = load_file(folder / "golden.safetensors")["forward.ids"]
            with torch.no_grad():
                theirs = model(input_ids=ids).logits[:, -8:, :]
            ours = load_file(f"{out}/logits.safetensors")["logits"]
            difference = (theirs - ours).abs().max().item()
            worst = max(worst, difference)
            print(json.dumps({"family": family, "largest_difference": difference}))
    if worst > TOLERANCE:
        print(f"a logit differs by {worst}, more than {TOLERANCE}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
