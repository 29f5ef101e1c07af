"""What the plan of an experiment says, asked in a copy of the project."""

import json
import subprocess
from typing import Any

import forked
from snaking import Copy, distilbench

from workflow.commands.plan import TO_DO


def asked(
    chain: Copy, config: dict[str, Any], *options: str, is_edited: bool = False
) -> subprocess.CompletedProcess[str]:
    """`distilbench plan`, in a process of its own where the copy's source is edited."""
    path = chain.folder / f"{config['experiment']}.json"
    path.write_text(json.dumps(config))
    if not is_edited:
        return distilbench(chain.folder, "plan", path.name, *options)
    command = ["-m", "workflow.commands.main", "plan", path.name, *options]
    return forked.snakemake().run(command, chain.folder)


def steps(
    chain: Copy, config: dict[str, Any], is_edited: bool = False
) -> dict[str, dict[str, Any]]:
    """The planned jobs by their outputs, without `results/`."""
    done = asked(chain, config, "--json", is_edited=is_edited)
    planned = json.loads(done.stdout)["steps"]
    assert done.returncode == (TO_DO if planned else 0), done.stderr
    return {step["output"].removeprefix("results/"): step for step in planned}
