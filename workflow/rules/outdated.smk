from workflow.jobs.jobs import OUTDATED


localrules:
    outdated,


# Snakemake knows by what code a file was made only as long as `.snakemake` lives
rule outdated:
    output:
        temp(touch(OUTDATED)),
    message:
        "{output}"
