"""From `errata up` on an empty home to the first edit served: what each part takes, and the memory.

    python -m benchmarks.first_edit [--model .real-models/smollm2]

The facts are the ten of `benchmarks.everyday_edits`, sent as they are, with nothing set. For scale, transformers'
own `generate` continues their ten prompts by 64 tokens each, in this process.
"""

import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from errata_cli.processes import free_port
from errata_cli.supervisor import Supervisor
from errata_client import Errata
from errata_registry.settings import Settings
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.command import arguments_of, print_header, print_row, timed
from benchmarks.everyday_edits import FACTS
from benchmarks.whole_service import WAIT_S, stages

SCALE_TOKENS = 64


def main() -> None:
    """Start, edit twice, and print what each part took."""
    arguments = arguments_of(__doc__, model=".real-models/smollm2")
    facts = [tuple(entry["fact"]) for entry in FACTS]
    prompts = [relation.replace("{}", subject) for subject, relation, _ in facts]
    print_header("part", "seconds")
    with tempfile.TemporaryDirectory(prefix="errata-first-edit-") as folder:
        settings = Settings(home=Path(folder) / "home", model=arguments.model, port=free_port())
        began = time.perf_counter()
        with Supervisor(settings) as stack, Errata(stack.url, timeout=WAIT_S) as client:
            print_row("`errata up`, until it is ready", f"{time.perf_counter() - began:.0f}")
            for number in ("first", "second"):
                _edit(client, facts, prompts[0], f"{number} edit of ten facts")
                client.rollback(to=0)
                facts = [(subject, relation, f"the {wanted}") for subject, relation, wanted in facts]
            memory = {name: _peak_gb(stack.pid(name)) for name in ("worker", "service")}
    seconds = _generated_in(arguments.model, prompts)
    print_row(f"transformers, {SCALE_TOKENS} tokens after each of the ten prompts", f"{seconds:.1f}")
    print("\npeak memory:", ", ".join(f"{name} {peak:.1f} GB" for name, peak in memory.items()))


def _edit(client: Errata, facts: Sequence[tuple[str, str, str]], prompt: str, named: str) -> None:
    began = time.perf_counter()
    edit = client.edit(facts, tries=1)
    by_stage = stages(client, edit.id)
    ended = edit.wait(progress=False)
    answer = client.generate(prompt, max_new_tokens=3)
    print_row(f"{named}, until the first answer: {ended.status}", f"{time.perf_counter() - began:.0f}")
    for stage, spent in by_stage.items():
        print_row(f"- of it, {stage}", f"{spent:.1f}")
    assert ended.version in (None, answer.version)


def _peak_gb(pid: int) -> float:
    """Return the most main memory that a process has had, in GB (Linux alone tells)."""
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(kilobytes) / 1e6


def _generated_in(folder: str, prompts: Sequence[str]) -> float:
    """Return the seconds that transformers' own greedy generation takes, all prompts in one batch."""
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    network: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    batch = tokenizer(list(prompts), return_tensors="pt", padding=True)
    length: dict[str, Any] = {"min_new_tokens": SCALE_TOKENS, "max_new_tokens": SCALE_TOKENS}
    return timed(lambda: network.generate(**batch, do_sample=False, **length))[0]


if __name__ == "__main__":
    main()
