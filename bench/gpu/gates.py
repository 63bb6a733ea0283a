"""What must hold before a figure of this device is worth anything."""
import json
import sys
from pathlib import Path

from command import Outcome, table
from session import Session
from shapes import SHAPES, Load, write_config, write_model, write_sequences

HERE = Path(__file__).resolve().parent


def run_all(session: Session) -> None:
    gradients(session)
    losses(session)
    memory(session)
    errors(session)
    products(session)


def gradients(session: Session) -> None:
    """The runner's own: gradients of device and CPU, and that what is not finite stops a training."""
    outcome = session.call("gates", [session.runner, "bench", "gates", "--json", "--device", session.setting.device], about=30)
    told = {line["gate"]: line for line in outcome.lines if "gate" in line} if outcome else {}
    for name in ("gradients f32", "gradients bf16", "non-finite"):
        if line := told.get(name):
            value = "not finite" if line["value"] is None else f"{line['value']:.2g}"
            session.gate(name, line["passed"], f"{value}, limit {line['limit']:.2g}")
        elif outcome:
            session.gate(name, False, outcome.error or f"not told by: {outcome.command}")
    if outcome and outcome.error and all(line["passed"] for line in told.values()):
        session.failed.append(outcome.error)


def losses(session: Session) -> None:
    """The same small model with the same weights in f32 on both sides: after some steps of some tools losses must agree."""
    shape, load = SHAPES["tiny"], Load(tools=4, traces=6, epochs=2)
    model, file = session.scratch / "tiny", session.scratch / "tiny.jsonl"
    write_model(shape, model)
    write_sequences(load, shape.vocabulary, file)
    common = {"epochs": load.epochs, "precision": "f32"}
    fan = session.fan("losses", model, file, about=10, slots=load.tools, **common)
    peft = session.peft("losses of peft", model, [file], about=20, **common)
    for outcome in (fan, peft):
        if outcome and outcome.error:
            session.gate("losses", False, outcome.error)
            return
    if fan and peft:
        ours, theirs = (outcome.lines[-1]["mean_last_epoch_loss"] for outcome in (fan, peft))
        session.gate("losses", abs(ours / theirs - 1) <= 0.01, f"f32, {ours:.4f} and peft's {theirs:.4f}, at most 1 % apart")


def memory(session: Session) -> None:
    """500 passes, each of the 50 epochs the same ten: from the second fifth to the last memory must not grow."""
    setting = session.setting
    model, file = session.scratch / "small", session.scratch / "small.jsonl"
    write_config(setting.small, model)
    load = Load(tools=4, traces=10, epochs=50, lengths=setting.bfcl)
    write_sequences(load, setting.small.vocabulary, file)
    options = {"random": 0, "precision": setting.precision, "slots": load.tools, "epochs": load.epochs}
    outcome = session.fan("memory", model, file, about=40, tokens_per_pass=16384 // setting.scale, **options)
    if not outcome:
        return
    if outcome.error:
        session.gate("memory flat", False, outcome.error)
        return
    seconds = outcome.lines[-1]["seconds"]
    early, late = (largest(outcome, seconds, fifth) for fifth in (1, 4))
    if not early or not late:
        session.gate("memory flat", False, f"no sample in a fifth of {seconds:.1f} s")
        return
    said = f"{early >> 20} MiB in the second fifth of {outcome.lines[-1]['passes']} passes, {late >> 20} MiB in the last"
    session.gate("memory flat", late <= early * (1 + setting.growth), f"{said}, at most {setting.growth:.0%} more")


def largest(outcome: Outcome, seconds: float, fifth: int) -> int:
    """The most memory seen in a fifth of the training, which ended with the process."""
    start = outcome.ended - seconds * (1 - fifth / 5)
    return max((used for at, used in outcome.samples if start <= at < start + seconds / 5), default=0)


def errors(session: Session) -> None:
    """More than there is: a pass over 262,144 tokens on a GPU, a token that the model lacks in a dry run. With a policy given the runner
    does not refuse by its plan, but meets the device's own error."""
    setting = session.setting
    model, file = session.scratch / "large", session.scratch / "errors.jsonl"
    write_config(setting.shape, model)
    options = {"random": 0, "precision": setting.precision, "slots": 32, "tokens_per_pass": 1 << 18, "recompute": "nothing"}
    if setting.device == "cpu":
        file.write_text(json.dumps({"tool": "a", "prompt": [0], "completion": [setting.shape.vocabulary]}) + "\n")
    else:
        write_sequences(Load(32, 1, 1, setting.fixed(8192)), setting.shape.vocabulary, file)
    if outcome := session.fan("errors", model, file, about=30, **options):
        stopped = outcome.code > 0 and bool(outcome.message)
        session.gate("errors stop the run", stopped, f"exit code {outcome.code}: {outcome.message or 'no message'}")


def products(session: Session) -> None:
    """The base's products against cuBLASLt's; half of all time stays for the comparison of the fan."""
    setting = session.setting
    wanted = setting.products()
    kind = ["--device", setting.device, "--precision", setting.precision]
    words = [sys.executable, str(HERE / "torch_product.py"), *kind, *(f"{m}x{k}x{n}" for _, m, k, n in wanted)]
    half = session.limit / 2
    theirs = session.call("products of torch", words, about=20, leave=half)
    if not theirs:
        return
    if theirs.error:
        session.gate("products", False, theirs.error)
        return
    rows = [["product", "rows", "runner TFLOP/s", "torch TFLOP/s", "share"]]
    for (name, m, k, n), peer in zip(wanted, theirs.lines):
        words = [session.runner, "bench", "product", "--json", *kind, "--rows", str(m), "--depth", str(k), "--width", str(n)]
        outcome = session.call(f"product {name}, {m} rows", words, about=5, leave=half)
        if not outcome:
            continue
        if outcome.error:
            session.failed.append(outcome.error)
            continue
        ours = outcome.lines[-1]
        share = ours["tflops"] / peer["tflops"]
        session.products.append({"name": name, "rows": m, "depth": k, "width": n, "runner": ours, "torch": peer, "share": share})
        rows.append([name, str(m), f"{ours['tflops']:.3g}", f"{peer['tflops']:.3g}", f"{share:.2f}"])
    print(table(rows), flush=True)
    if session.products:
        worst = min(session.products, key=lambda product: product["share"])
        said = f"at worst {worst['share']:.2f} of torch's rate ({worst['name']}, {worst['rows']} rows), at least {setting.product}"
        session.gate("products", worst["share"] >= setting.product, said)
