"""The JSON Schema of a configuration, for editors: keys are completed, checked and described.

What a key means is said where it is defined, in the comment beside it; the schema quotes that.
"""

import inspect
import json
import re
from pathlib import Path
from typing import Any

from pipeline.settings.base import Settings
from pipeline.settings.experiment import Experiment

FILE = Path("config.schema.json")
OVERRIDES = {"training", "initial_sft"}  # keys whose blocks override some of a budget
FIELD = re.compile(r"^    (\w+): .*?  # (.+)$", re.MULTILINE)


def schema() -> dict[str, Any]:
    """The schema of a whole configuration."""
    whole = Experiment.model_json_schema()
    for block in _blocks(Settings)[1:]:
        part = whole if block is Experiment else whole["$defs"].get(block.__name__)
        if part is not None:
            _describe(part, block)
    (data,) = whole["$defs"]["Evaluation"]["properties"]["data"]["patternProperties"].values()
    data["oneOf"] += [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
    template = whole["$defs"]["DataSettings"]["properties"]["template"]
    template["anyOf"] = [*template.pop("oneOf"), {"const": "chat"}]
    for user in ("Teacher", "Judge"):
        whole["$defs"][user]["properties"]["endpoint"]["anyOf"].insert(0, {"type": "string"})
    row = whole["$defs"]["MethodChoice"]["properties"]
    for key in ("loss", "policy", "update", "features"):
        row[key]["anyOf"].insert(0, {"type": "string"})  # a part by its name alone
    row["teachers"]["anyOf"].insert(0, {"type": "array", "items": {"type": "string"}})
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **whole}


def _blocks(block: type[Settings]) -> list[type[Settings]]:
    """A block's kinds, and theirs."""
    return [block, *(kind for each in block.__subclasses__() for kind in _blocks(each))]


def _describe(part: dict[str, Any], block: type[Settings]) -> None:
    """Quotes the comment beside each key, and leaves out what the workflow fills in."""
    keys = part["properties"]
    for description in keys.values():
        description.pop("title", None)  # the key once more, in other letters
    for key, comment in FIELD.findall(inspect.getsource(block)):
        keys[key]["description"] = comment
    for key in block.filled_in:
        del keys[key]
    for key in OVERRIDES & keys.keys():
        keys[key] |= {"anyOf": [{"$ref": "#/$defs/Training"}, {"type": "null"}]}
        for word in ("type", "additionalProperties"):
            keys[key].pop(word, None)


def text() -> str:
    """The file of the schema."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Writes the file that configurations name in their first line."""
    FILE.write_text(text(), encoding="utf-8")
    print(FILE)
    return 0
