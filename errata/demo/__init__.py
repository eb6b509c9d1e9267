"""The demo model: a small GPT-J that knows a world of true facts, and everything it is made from.

`world` loads the facts, `corpus` turns them into training text, `train` makes the model, `recall` shows what
it knows, `records` draws counterfactual edits from it, `shipped` is what the library finds by the model's name. The
trained model lies in `MODEL_FOLDER`, and facts to edit it with in the file `FACTS`.
"""

from pathlib import Path

DEMO = "demo"
MODEL_FOLDER = Path(__file__).parent / "model"
FACTS = Path(__file__).parent / "facts.jsonl"
