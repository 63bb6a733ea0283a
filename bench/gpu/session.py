"""One run of the benchmark: where things are, how much time is left, what was found."""
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import command
from machine import Cpu, Gpu
from setting import Setting

FAN = Path(command.__file__).resolve().parent


@dataclass
class Gate:
    name: str
    passed: bool
    said: str


@dataclass
class Session:
    setting: Setting
    machine: Gpu | Cpu
    runner: str
    scratch: Path
    environment: dict[str, str]
    started: float
    limit: float  # seconds for everything from then on
    peak: float | None  # FLOP/s of the device in dense bf16
    software: str
    gates: list[Gate] = field(default_factory=list)
    products: list[dict] = field(default_factory=list)
    rows: list[dict] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def gate(self, name: str, passed: bool, said: str) -> None:
        self.gates.append(Gate(name, passed, said))
        print(f"  {'passed' if passed else 'FAILED'}  {name}: {said}", flush=True)

    def call(self, part: str, words: list[str], about: float, leave: float = 0, sample: bool = False) -> command.Outcome | None:
        """Runs a command that takes `about` so many seconds on a GPU, or notes that no time is left for it but `leave` for others.

        A command that hangs is stopped before it takes everybody's time."""
        left = self.started + self.limit - time.monotonic() - leave
        needed = about * self.setting.pace
        if left < needed:
            self.skipped.append(f"{part}: takes about {needed:.0f} s, {max(left, 0):.0f} s left for it")
            print(f"  skipped for time  {self.skipped[-1]}", flush=True)
            return None
        used = self.machine.used if sample else None
        return command.run(words, min(left, 4 * about + 20), self.environment, used, self.machine.every)

    def fan(self, part: str, model: Path, sequences: Path, about: float, **options: object) -> command.Outcome | None:
        """`runner bench fan` on the device, its memory watched."""
        words = [self.runner, "bench", "fan", "--json", "--device", self.setting.device, "--model", str(model)]
        return self.call(part, [*words, "--sequences", str(sequences), *flags(options)], about, sample=True)

    def peft(self, part: str, model: Path, sequences: list[Path], about: float, *plain: str, **options: object) -> command.Outcome | None:
        """The peer on the device, for all files in one process: loading takes longer than training."""
        words = [sys.executable, str(FAN / "peft_loop.py"), "--device", self.setting.device, "--model", str(model), *plain]
        files = (word for file in sequences for word in ("--sequences", str(file)))
        return self.call(part, [*words, *files, *flags(options)], about)

    def report(self) -> dict:
        return {
            "device": self.machine.name,
            "driver": self.machine.driver,
            "software": self.software,
            "peak_flops_per_s": self.peak,
            "precision": self.setting.precision,
            "gates": [asdict(gate) for gate in self.gates],
            "products": self.products,
            "fan": self.rows,
            "skipped": self.skipped,
            "failed": self.failed,
        }


def flags(options: dict[str, object]) -> list[str]:
    """`{"warm_up": 2}` as `--warm-up 2`."""
    return [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
