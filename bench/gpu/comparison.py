"""The fan against loops over peft, on the same token ids, every tool trained for as many steps on each side."""
from command import table
from session import Session
from setting import EPOCHS, FLOOR, Work
from shapes import write_config, write_sequences

TUNED, PLAIN = "peft tuned", "peft plain"
WARM_UP = 5  # steps of a peer on each file


def run_all(session: Session) -> None:
    """The tuned peer comes first and the plain one last, since a ratio to the best is worth most should time run out."""
    setting = session.setting
    model = session.scratch / "model"
    write_config(setting.shape, model)
    works = setting.works(session.machine.memory)
    files = [session.scratch / f"work-{at}.jsonl" for at in range(len(works))]
    tokens = [write_sequences(work.load, setting.shape.vocabulary, file) for work, file in zip(works, files)]
    common = {"random": 0, "epochs": EPOCHS, "precision": setting.precision}

    def peft(engine: str, *flags: str) -> None:
        outcome = session.peft(engine, model, files, 60, *flags, **common, warm_up=WARM_UP)
        for work, lengths, told in zip(works, tokens, outcome.lines if outcome else []):
            note(session, engine, work, lengths, told, told["peak_device_bytes"] or told["peak_rss_bytes"])
        if outcome and outcome.error:
            session.failed.append(outcome.error)

    peft(TUNED)
    for work, file, lengths in zip(works, files, tokens):
        options = {**common, "slots": work.slots, "tokens_per_pass": setting.tokens_per_pass, "warm_up": work.warm_up}
        outcome = session.fan(f"fan, {work.name}", model, file, 25, **options)
        if outcome and outcome.error:
            session.failed.append(outcome.error)
        elif outcome:
            told = outcome.lines[-1]
            again = "" if told["recompute"] == "nothing" else f", {told['recompute']} again"
            most = max((used for _, used in outcome.samples), default=0)
            note(session, f"fan of {work.slots}{again}", work, lengths, told, most)
    peft(PLAIN, "--plain")
    print(table(speeds(session, works)))
    print("\nLaunch floor: a step at batch 1 and 16 tokens")
    floors = [row for row in session.rows if row["work"] == FLOOR]
    print(table([["engine", "ms"], *([row["engine"], f"{1e3 / row['steps_per_s']:.2f}"] for row in floors)]), flush=True)


def note(session: Session, engine: str, work: Work, tokens: list[int], told: dict, memory: int) -> None:
    """Keeps what an engine told of some work, with its share of the device's peak."""
    flops = told["tokens_per_s"] * session.setting.flops_per_token(tokens)
    mfu = flops / session.peak if session.peak else None
    session.rows.append({**told, "engine": engine, "work": work.name, "mfu": mfu, "peak_bytes": memory})


def speeds(session: Session, works: list[Work]) -> list[list[str]]:
    """One line for each engine and kind of work; ratios are between real tokens a second."""
    lines = [["tokens", "engine", "tokens/s", "to tuned", "to plain", "MFU", "MiB", "tokens a pass", "loss", "from tuned's"]]
    for work in works:
        if work.name == FLOOR:
            continue
        rows = {row["engine"]: row for row in session.rows if row["work"] == work.name}
        for engine, row in rows.items():

            def ratio(peer: str, figure: str) -> float | None:
                return row[figure] / rows[peer][figure] if peer in rows else None

            differs = ratio(TUNED, "mean_last_epoch_loss")
            lines.append([
                work.name,
                engine,
                f"{row['tokens_per_s']:.0f}",
                shown(ratio(TUNED, "tokens_per_s"), ".2f"),
                shown(ratio(PLAIN, "tokens_per_s"), ".2f"),
                shown(row["mfu"], ".1%"),
                f"{row['peak_bytes'] >> 20}",
                f"{row['mean_tokens_per_pass']:.0f}",
                f"{row['mean_last_epoch_loss']:.4f}",
                shown(differs and differs - 1, "+.2%"),
            ])
    return lines


def shown(figure: float | None, form: str) -> str:
    return "n/a" if figure is None else format(figure, form)
