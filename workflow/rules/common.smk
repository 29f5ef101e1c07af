import gc
import os

from snakemake.settings.types import RerunTrigger

from workflow.commands import partial_report
from workflow.config import load, name_checks
from workflow.grid.grid import Grid
from workflow.launch import run_lock
from workflow.launch.snakemake_process import environment
from workflow.jobs import flags, preparation
from workflow.jobs.jobs import OUTDATED, Jobs
from workflow.resources.machine import Machine
from workflow.resources.requests import ResourceRequests, refuse

gc.freeze()  # of what has been imported nothing is garbage, and each look takes a tenth second


def is_forced():
    """Whether finished artifacts are made again, too."""
    settings = workflow.dag_settings
    return bool(settings.forceall or settings.forcerun or settings.forcetargets)


def finished_input(path):
    """A finished input: Snakemake looks for no rule that makes it, and ignores its age."""
    return path if is_forced() else ancient(before_update(path))


def raw(resources):
    """Resources as a profile has them, by their names."""
    return {name: setting.raw for name, setting in resources.items()}


def ignores_code_changes():
    """Without the trigger `params`, an edit of the code reruns nothing."""
    return RerunTrigger.PARAMS not in workflow.dag_settings.rerun_triggers


def targets(wildcards):
    """All that the experiment is for; asked for before any job, so that it may be refused here."""
    refuse(GRID, MACHINE, JOBS.unfinished)
    flags.refuse_missing_keys(GRID, JOBS.unfinished)
    return JOBS.targets(wildcards)


def jobs_after_run():
    """The jobs as they are now: what is finished has changed since the plan."""
    return Jobs(GRID, finished_input, ignores_code_changes)


GRID = Grid(load.of_snakemake(config, workflow.configfiles))
DEFAULTS = workflow.resource_settings.default_resources or {}
BY_RULE = workflow.resource_settings.overwrite_resources
MACHINE = Machine.of(raw(DEFAULTS), {rule: raw(BY_RULE[rule]) for rule in BY_RULE})
REQUESTS = ResourceRequests(GRID, MACHINE)
JOBS = Jobs(GRID, finished_input, ignores_code_changes, REQUESTS.parts)


wildcard_constraints:
    id="[A-Za-z0-9_.-]+",
    experiment="[a-z][a-z0-9_]*",
    stage="[a-z]+",
    part="[0-9]+",
    parts="[0-9]+",


# jobs start the `python` that runs Snakemake, whether or not its environment is activated
os.environ.update(environment())

if workflow.is_main_process:
    run_lock.clear_after_kill(logger.info)


onstart:
    if unused := name_checks.unused(GRID.experiment):
        logger.info(f"no cell of the grid uses {', '.join(unused)}")
    run_lock.register_snakemake(JOBS.experiment)
    preparation.move_damaged_aside(JOBS, logger.info)
    preparation.prepare_run(JOBS, is_forced())


onsuccess:
    partial_report.remove_beside_whole(jobs_after_run())


onerror:
    logger.info(partial_report.after_failure(jobs_after_run()))
