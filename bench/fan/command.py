"""Running the engines that a benchmark compares, and printing what they measured: each prints JSON lines, or fails with a message."""
import json
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass
class Outcome:
    """What a command printed, also when it failed half-way."""

    command: str
    lines: list[dict]
    code: int
    message: str  # the end of its stderr, or that it was stopped
    ended: float  # on the clock of time.monotonic
    samples: list[tuple[float, int]] = field(default_factory=list)

    @property
    def error(self) -> str | None:
        """Which command failed with which message; None if it did not, and measured something."""
        if self.code == 0 and self.lines:
            return None
        how = f"failed with exit code {self.code}" if self.code else "printed no measurement"
        return f"{how}: {self.command}\n  {self.message or 'no message'}"


def run(
    command: list[str],
    seconds: float | None = None,
    env: Mapping[str, str] | None = None,
    sample: Callable[[int], int] | None = None,
    every: float = 0.05,
) -> Outcome:
    """Runs a command, for at most so many seconds. `sample` is called with its process id again and again while it runs."""
    started = time.monotonic()
    samples = []
    stopped = ""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, env=env)
        try:
            while process.poll() is None:
                if seconds is not None and time.monotonic() - started > seconds:
                    stopped = f"stopped after {seconds:.0f} s"
                    break
                if sample:
                    samples.append((time.monotonic(), sample(process.pid)))
                try:
                    process.wait(every)
                except subprocess.TimeoutExpired:
                    pass
        finally:
            process.kill()
            code = process.wait()
        ended = time.monotonic()
        out.seek(0)
        err.seek(0)
        lines = [json.loads(line) for line in out if line.startswith("{") and line.endswith("}\n")]
        said = [line.rstrip() for line in err if line.strip()]
    message = "\n  ".join(said[-5:] + ([stopped] if stopped else []))
    return Outcome(shlex.join(command), lines, code, message, ended, samples)


def table(rows: list[list[str]]) -> str:
    """Rows under a head, the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = []
    for row in rows:
        first, *others = (cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in enumerate(zip(row, widths)))
        lines.append("  ".join([first, *others]).rstrip())
    return "\n".join(lines)
