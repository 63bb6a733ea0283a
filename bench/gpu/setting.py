"""What is measured and how much of it: the shape of Qwen2.5-7B on a GPU, a toy of the same build for a dry run."""
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from shapes import SHAPES, Lengths, Load, Shape

QWEN_7B = Shape(3584, 28, 18944, 28, 4, 152064, tied=False)
TOY = Shape(64, 2, 192, 4, 2, 512, tied=False)

# BFCL's lengths in tokens: means of the twentieths of all lengths in order, so that draws of one of the twenty keep the mean. From the six
# categories that ParaTool uses (1,693 entries; those of parallel_multiple cut into one sample a call, with the calls before it as history:
# 2,131 samples), prompts in our own full wording inside Qwen's chat template, the answer written from the first acceptable values. No
# tokenizer was at hand: tokens are bytes / 4, and 1 for each mark of the template. Without documents a prompt has 212 on the mean, with the
# candidates' documents 1,003 (at most 7,464), a completion 24.
WITHOUT_DOCUMENTS = [132, 139, 143, 147, 150, 153, 156, 159, 162, 165, 171, 178, 191, 218, 242, 273, 310, 338, 372, 442]
WITH_DOCUMENTS = [308, 389, 465, 517, 574, 626, 659, 702, 740, 791, 849, 931, 1005, 1084, 1180, 1311, 1541, 1703, 2015, 2655]
COMPLETION = [9, 11, 13, 14, 16, 16, 18, 18, 20, 20, 22, 22, 24, 25, 26, 28, 30, 34, 42, 69]
BFCL_MEAN = (sum(WITHOUT_DOCUMENTS) + sum(WITH_DOCUMENTS)) / 40 + sum(COMPLETION) / 20

# Dense bf16 FLOP/s by what a GPU calls itself. Hopper's PCIe and NVL cards are slower: they need --peak.
PEAKS = {"A100": 312e12, "A800": 312e12, "H100 80GB HBM3": 989e12, "H200": 989e12}


def peak(gpu: str) -> float | None:
    return next((flops for name, flops in PEAKS.items() if name in gpu and "NVL" not in gpu), None)


@dataclass(frozen=True)
class Work:
    """One row of the comparison: what is trained, and how the fan packs it."""

    name: str
    load: Load
    slots: int
    warm_up: int  # passes of the fan before the clock starts


@dataclass(frozen=True)
class Setting:
    device: str
    precision: str
    shape: Shape
    small: Shape  # of the run that watches the memory
    scale: int  # all lengths are divided by it
    growth: float  # of memory, at most
    product: float  # share of cuBLASLt's rate, at least
    pace: float  # how long a part takes, against the GPU

    def flops_per_token(self, tokens: list[int]) -> float:
        """What training an adapter takes, averaged over all tokens: 4 for each parameter in a product of the frozen base (forward, and
        the gradient of what flows), 6 for each of the adapter, causal attention. Nothing for pads or for what is computed again."""
        s = self.shape
        base = s.layers * (2 * s.hidden * (s.hidden + s.kv) + 3 * s.hidden * s.feed_forward) + s.hidden * s.vocabulary
        adapter = 16 * 3 * (s.hidden + s.feed_forward) * s.layers
        attention = 6 * s.hidden * s.layers
        squares = sum(length * length for length in tokens)
        return 4 * base + 6 * adapter + attention * squares / sum(tokens)

    @property
    def tokens_per_pass(self) -> int:
        return 4096 // self.scale

    def works(self, memory: int) -> list[Work]:
        """Fixed lengths show where the gain ends, BFCL's what it is in use, batch 1 at 16 tokens the floor of a step's time.

        Slots fill a pass of 4,096 tokens, but for 24 on a card of 40 GB, beyond which only whole layers computed again make room."""
        most = 24 if memory < 48 << 30 else 32

        def fixed(length: int, name: str) -> Work:
            slots = min(4096 // length, most)
            return Work(name, Load(slots, 3, EPOCHS, self.fixed(length)), slots, warm_up=2)

        slots = round(1.5 * 4096 / BFCL_MEAN)  # more than fill a pass on the mean: who does not fit leaves a choice
        bfcl = Work("BFCL", Load(2 * slots, 4, EPOCHS, self.bfcl), slots, warm_up=2)
        floor = Work(FLOOR, Load(1, 12, EPOCHS, self.fixed(16)), 1, warm_up=5)
        return [bfcl, fixed(128, "128"), fixed(512, "512"), fixed(2048, "2,048"), floor]

    def fixed(self, length: int) -> Lengths:
        """Samples of one length, a quarter of them the completion."""
        length = max(4, length // self.scale)
        pair = (length - length // 4, length // 4)
        return lambda _: itertools.repeat(pair)

    def bfcl(self, rng: random.Random) -> Iterator[tuple[int, int]]:
        """Prompts with and without documents in equal shares, as stage 1 trains both."""
        while True:
            prompts = WITHOUT_DOCUMENTS + WITH_DOCUMENTS
            completions = COMPLETION + COMPLETION
            rng.shuffle(prompts)
            rng.shuffle(completions)
            for prompt, completion in zip(prompts, completions):
                yield max(1, prompt // self.scale), max(1, completion // self.scale)

    def products(self) -> list[tuple[str, int, int, int]]:
        """Name, rows, depth, width of the base's products; the rows of a full pass first."""
        s = self.shape
        sides = {
            "gate, up": (s.hidden, s.feed_forward),
            "down": (s.feed_forward, s.hidden),
            "q, o": (s.hidden, s.hidden),
            "head": (s.hidden, s.vocabulary),
            "k, v": (s.hidden, s.kv),
        }
        return [
            (name, rows // self.scale, depth, width)
            for rows in (4096, 2048, 512, 128)
            for name, (depth, width) in sides.items()
        ]


EPOCHS = 2  # the loss is that of the last one
FLOOR = "floor"
GPU = Setting("cuda:0", "bf16", QWEN_7B, SHAPES["qwen0.5b"], scale=1, growth=0.01, product=0.6, pace=1)
DRY = Setting("cpu", "f32", TOY, TOY, scale=16, growth=0.05, product=0, pace=0.1)  # toy products say nothing of speed
