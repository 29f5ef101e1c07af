"""A report as its stage makes it, on made-up results."""

import json
import re
import subprocess
from dataclasses import dataclass, field, replace
from pathlib import Path

import forked
import synthetic
from stage_commands import job_file

SMALL = synthetic.Experiment(
    foreign=("middle",),
    students=("small",),
    methods=("sft", "forward_kl", "jsd"),
    items=12,
    steps=40,
)
ATTACK = (  # on a browser, a spreadsheet, a reader of Markdown, LaTeX, a plot, a terminal
    "=1+1</script><script>document.title = 'taken'</script> & <img src=x onerror=alert(1)>"
    "<svg onload=alert(2)> [a](javascript:alert(3)) ![b](http://taken.invalid/b) {{ 7 * 7 }} | `c"
    " $\\frac{$ \\input{/etc/passwd} \\write18{touch taken} \x1b]0;taken\x07 \x9b2J \0 \u202e"
)
ODD_NAME = "=JSD_β <b> [a](javascript:alert(4))"
ONE_SEED = replace(
    SMALL,
    teachers=("large",),
    foreign=(),
    seeds=(3,),
    output=ATTACK,
    methods=("sft", "forward_kl", ODD_NAME),
    parts=("hard", ATTACK, "tokens 1-8", "tokens 9-64"),
)


@dataclass(frozen=True)
class Made:
    """A report as the stage leaves it."""

    results: Path
    folder: Path
    output: str
    page: str = field(repr=False)

    def data(self, id: str) -> dict:
        """What the page carries for its scripts."""
        match = re.search(rf'<script type="application/json" id="{id}">(.*?)</script>', self.page)
        assert match
        return json.loads(match[1])


def make(results: Path, experiment: synthetic.Experiment) -> Made:
    """The report of a made-up experiment, under `results`."""
    grid = synthetic.write(results, experiment)
    folder = grid.parent / "report"
    done = run(results, experiment)
    assert done.returncode == 0, done.stderr
    return Made(results, folder, done.stdout, (folder / "index.html").read_text())


def run(results: Path, experiment: synthetic.Experiment) -> subprocess.CompletedProcess[str]:
    """The report stage on what is there."""
    settings = synthetic.settings(experiment)
    job = job_file(results / "job.json", "demo.report-12345678", settings, "0011")
    grid = results / experiment.name / "grid.csv"
    out = grid.parent / "report"
    stage = ["-W", "error", "-m", "pipeline", "report"]
    files = ["--job", str(job), "--grid", str(grid), "--results", str(results), "--out", str(out)]
    return forked.jobs().run([*stage, *files], Path(__file__).parent.parent)
