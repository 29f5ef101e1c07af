from snakemake.utils import min_version

min_version("9.0")


# Snakemake would merge the default experiment into one given by --configfile
if not workflow.overwrite_configfiles:

    configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        targets,
