from snakemake.utils import min_version

from workflow.config import load

min_version("9.0")


# Snakemake would merge the default experiment into one given by --configfile
if not workflow.overwrite_configfiles:

    configfile: load.plain_data("config.yaml")


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        targets,
