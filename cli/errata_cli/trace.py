"""`errata trace`: the causal trace of one prompt or of many facts, as JSON and figures in a folder."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

from errata.errors import TracingError
from errata.facts import Fact
from errata.files import durable
from errata.files.json_figures import with_nulls
from errata_cli.options import Model, settings_with_model
from errata_cli.progress import count_of

if TYPE_CHECKING:
    from errata.model import EditableModel
    from errata.tracing.fact_trace import FactsTrace
    from errata.tracing.noise import Noise
    from errata.tracing.prompts import TracedPrompt

DEMO_FACTS = 100


def trace(
    out: Annotated[Path, Option(help="folder for the results")],
    model: Model = None,
    facts: Annotated[Path | None, Option(help="facts that the model should know: .jsonl, .json or .csv")] = None,
    num_facts: Annotated[
        int | None, Option(help="how many of them to trace (default: all of a file, 100 of the demo world)")
    ] = None,
    severed_only: Annotated[
        bool, Option("--severed-only", help="of facts, only what the proposal needs: a fraction of the time")
    ] = False,
    prompt: Annotated[str | None, Option(help="a prompt with {} where the subject stands")] = None,
    subject: Annotated[str | None, Option(help="the subject of --prompt")] = None,
    answer: Annotated[
        str | None, Option(help="what should follow --prompt (default: what the model itself says)")
    ] = None,
    window: Annotated[
        int | None, Option(help="layers of MLP or attention restored together (default: a third)")
    ] = None,
    noise_level: Annotated[float, Option(help="in standard deviations of subjects' embeddings")] = 3.0,
    num_samples: Annotated[int, Option(help="corrupted runs of each prompt")] = 10,
    seed: Annotated[int, Option(help="of the noise, and of which facts are taken")] = 0,
) -> None:
    """Trace which layers recall facts, and propose layers to edit.

    Traces one prompt (--prompt, --subject), or those facts of a file (--facts) that the model knows; for the demo
    model, facts of its own world where neither is given. Writes JSON, PNG and SVG.
    """
    if bool(prompt) != bool(subject):
        raise TracingError("--prompt and --subject are given together")
    settings = settings_with_model(model=model)
    chosen = [] if prompt else _choose_facts(facts, num_facts, seed, settings.model)

    from errata.tracing.noise import Noise
    from errata.tracing.prompts import TracedPrompt
    from errata_cli.base_model import load_model

    base = load_model(settings)
    traced_prompt = TracedPrompt.of(base, prompt, subject, answer) if prompt and subject else None
    subjects = [traced_prompt.subject] if traced_prompt else [fact.subject for fact in chosen]
    noise = Noise.for_subjects(base, subjects, level=noise_level, num_samples=num_samples, seed=seed)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TracingError(f"the folder for the results cannot be made: {error}") from error
    if traced_prompt:
        results = _trace_prompt(base, traced_prompt, noise, window, out)
    else:
        results = _trace_facts(base, chosen, noise, window, out, severed_only=severed_only)
    durable.write(out / "trace.json", json.dumps(with_nulls(results), indent=1, ensure_ascii=False))
    print(f"trace.json and figures are in {out}")


def _choose_facts(file: Path | None, wanted: int | None, seed: int, model: str) -> list[Fact]:
    """Return the facts of the file, or for the demo model those of its world; a sample where fewer are wanted."""
    if file:
        facts = _read(file)
    else:
        from errata.demo import DEMO
        from errata.demo.world import load_world

        if model != DEMO:
            raise TracingError(
                "--facts or --prompt must say what to trace; only the demo model brings facts of its own"
            )
        facts = [Fact(fact.subject, fact.relation.edit_phrasing, fact.object) for fact in load_world().facts]
        wanted = DEMO_FACTS if wanted is None else wanted
    if wanted is None or wanted >= len(facts):
        return facts
    if wanted < 1:
        raise TracingError(f"--num-facts {wanted}: there must be a fact to trace")
    return random.Random(seed).sample(facts, wanted)


def _read(file: Path) -> list[Fact]:
    from errata_client import read_facts

    try:
        return [Fact(fact.subject, fact.relation, fact.object) for fact in read_facts(file).values()]
    except (OSError, ValueError) as error:
        raise TracingError(f"{file} cannot be read: {error}") from error


def _trace_prompt(
    model: EditableModel, prompt: TracedPrompt, noise: Noise, window: int | None, out: Path
) -> dict[str, Any]:
    from errata import figures
    from errata.tracing import plots
    from errata.tracing.prompt_trace import trace_prompt

    traced = trace_prompt(model, prompt, noise, window=window)
    print(f"p({traced.answer.strip()}): {traced.clean:.3f} clean, {traced.corrupted:.3f} corrupted")
    figures.save(plots.prompt_figure(traced), out, "restored")
    return traced.as_dict()


def _trace_facts(
    model: EditableModel, facts: list[Fact], noise: Noise, window: int | None, out: Path, *, severed_only: bool
) -> dict[str, Any]:
    from errata import figures
    from errata.tracing import plots
    from errata.tracing.fact_trace import trace_facts
    from errata.tracing.prompt_trace import KINDS

    kinds = () if severed_only else KINDS
    traced = trace_facts(model, facts, noise, kinds=kinds, window=window, on_progress=count_of("facts"))
    print(_summary(traced))
    if traced.effects:
        figures.save(plots.effects_figure(traced), out, "effects")
    figures.save(plots.severed_figure(traced), out, "severed")
    return traced.as_dict()


def _summary(traced: FactsTrace) -> str:
    """Return the AIE by layer with and without modules severed, and the layers that it proposes."""
    lines = [
        f"{len(traced.facts)} of {traced.num_given} facts known and traced",
        f"{'layer entered':<14}{'neither':>16}{'attention severed':>20}{'MLP severed':>16}{'MLP gap':>16}",
    ]
    columns = [*(traced.severed[severing] for severing in ("neither", "attention", "mlp")), traced.gaps["mlp"]]
    num_layers = len(traced.gaps["mlp"].mean) - 1
    for layer in range(num_layers + 1):
        cells = [
            f"{average.mean[layer]:z.3f}" + (f" ± {average.half_width[layer]:.3f}" if average.half_width else "")
            for average in columns
        ]
        name = str(layer) if layer < num_layers else "head"
        lines.append(f"{name:<14}{cells[0]:>16}{cells[1]:>20}{cells[2]:>16}{cells[3]:>16}")
    layers = ", ".join(map(str, traced.proposal.layers)) or "none: severing the MLPs costs nothing that can be told"
    return "\n".join([*lines, f"layers to edit: {layers}"])
