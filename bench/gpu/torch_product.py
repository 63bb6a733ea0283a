#!/usr/bin/env python3
"""The peer of `runner bench product`: products through torch, which is cuBLASLt on a GPU. One JSON line for each."""
import argparse
import json
import statistics
import time

import torch


def seconds(a: torch.Tensor, b: torch.Tensor) -> float:
    """Median time of a product, the device waited for."""
    times = []
    for _ in range(25):
        started = time.perf_counter()
        torch.matmul(a, b)
        if a.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times[5:])


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--device", required=True)
    ap.add_argument("--precision", choices=["f32", "bf16"], required=True)
    ap.add_argument("products", nargs="+", metavar="ROWSxDEPTHxWIDTH")
    args = ap.parse_args()
    if args.device.startswith("cuda"):
        torch.backends.cuda.preferred_blas_library("cublaslt")
    kind = {"dtype": torch.bfloat16 if args.precision == "bf16" else torch.float32, "device": args.device}
    for product in args.products:
        rows, depth, width = map(int, product.split("x"))
        taken = seconds(torch.randn(rows, depth, **kind), torch.randn(depth, width, **kind))
        print(json.dumps({"seconds": taken, "tflops": 2e-12 * rows * depth * width / taken}), flush=True)


if __name__ == "__main__":
    main()
