from snakemake.settings.types import RerunTrigger

from workflow.commands.report import suggest_partial
from workflow.launch import run_lock
from workflow.jobs.jobs import Jobs
from workflow.resources.machine import Machine
from workflow.resources.requests import Needs, refuse


def is_forced():
    """Whether finished artifacts are made again, too."""
    asked = workflow.dag_settings
    return bool(asked.forceall or asked.forcerun)


def settled(path):
    """A finished input: Snakemake looks for no job behind it, and its age is no reason to run."""
    if is_forced():  # then the whole graph counts
        return path
    return ancient(before_update(path))


def keeps_code():
    """Without the trigger `params`, an edit in the code makes nothing anew."""
    return RerunTrigger.PARAMS not in workflow.dag_settings.rerun_triggers


def targets(wildcards):
    """All that the experiment is for; asked for before any job, so that it may be refused here."""
    refuse(JOBS.grid, NEEDS.machine, JOBS.unfinished)
    return JOBS.targets(wildcards)


JOBS = Jobs.of(config, settled, keeps_code)
NEEDS = Needs(JOBS.grid, Machine.of(workflow.resource_settings.default_resources))


wildcard_constraints:
    id="[A-Za-z0-9_.-]+",
    experiment="[a-z][a-z0-9_]*",


if workflow.is_main_process:
    run_lock.clear_after_kill(logger.info)


onstart:
    run_lock.note(JOBS.experiment)
    JOBS.note_sources()
    JOBS.write_job_files(is_forced())


onerror:
    logger.info(suggest_partial(JOBS, workflow.configfiles))
