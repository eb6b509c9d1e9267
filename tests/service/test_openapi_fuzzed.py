"""schemathesis asks a service for everything that its description allows, and for much that it does not."""

import os
import re
import subprocess
import sys
from pathlib import Path

from errata_registry.api_keys import Scope, new_key

from errata.hyperparameters import SHIPPED
from tests.service.conftest import TURN_END, NewSettings, SaveChatModel, Serve, until_ready

FUZZING = Path(__file__).parent / "fuzzing"


# It takes every conversation: what a real one refuses, no description can say.
CHAT_TEMPLATE = f"{{% for message in messages %}}{{{{ message.content }}}}{TURN_END}{{% endfor %}}"


def test_the_service_does_what_its_description_says(
    serve: Serve, new_settings: NewSettings, save_chat_model: SaveChatModel, tmp_path: Path
) -> None:
    key, line = new_key("fuzz", list(Scope))
    (tmp_path / "keys").write_text(line + "\n")
    plenty = {"max_queued_edits": 100_000, "max_queued_measurements": 100_000}
    of_model = {"model": str(save_chat_model(CHAT_TEMPLATE)), "hyperparameters": SHIPPED / "demo.json"}
    client = serve(new_settings(keys_file=tmp_path / "keys", **of_model, **plenty))
    until_ready(client)
    authorization = f"Bearer {key}"
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(FUZZING / "schemathesis.toml"), "run"),
            *(f"{client.base_url}/openapi.json", "--header", f"Authorization: {authorization}"),
            *("--phases", "examples,coverage,fuzzing"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(FUZZING), "AUTHORIZATION": authorization},
        capture_output=True,
        text=True,
    )
    shown = "\n".join(line[:500] for line in ran.stdout.splitlines() if line.strip())
    assert ran.returncode == 0, shown + ran.stderr
    cases = re.search(r"(\d+) generated", shown)
    assert cases is not None and int(cases[1]) > 2000, shown
