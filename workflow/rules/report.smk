localrules:
    outdated,
    grid,


# Snakemake knows by what code a file was made only as long as `.snakemake` lives
rule outdated:
    output:
        temp(touch(OUTDATED)),


rule grid:
    input:
        unpack(JOBS.grid_inputs),
    output:
        "results/{experiment}/grid.csv",
    log:
        "results/logs/report/{experiment}.grid.log",
    conda:
        "../../environment.yml"
    params:
        rows=JOBS.rows_digest,
    shell:
        "cp results/jobs/{wildcards.experiment:q}/grid.csv {output:q} 2> {log:q}"


rule report:
    input:
        unpack(JOBS.report_inputs),
        grid="results/{experiment}/grid.csv",
    output:
        directory("results/{experiment}/report"),
    log:
        "results/logs/report/{experiment}.log",
    benchmark:
        "results/benchmarks/report/{experiment}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=REQUESTS.report_mem_mb,
        runtime=REQUESTS.report_runtime,
    params:
        job=JOBS.report_digest,
    shell:
        "exec python -m workflow.launch.run_stage {output:q} > {log:q} 2>&1"
