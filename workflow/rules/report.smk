localrules:
    grid,


rule grid:
    input:
        JOBS.grid_inputs,
    output:
        "results/{experiment}/grid.csv",
    log:
        "results/logs/report/{experiment}.grid.log",
    conda:
        "../../environment.yml"
    params:
        config=JOBS.config,
        rows=JOBS.rows,
    message:
        "{output}"
    shell:
        "exec python -m workflow.jobs.grid_csv {params.config:q} --out {output:q} > {log:q} 2>&1"


rule report:
    input:
        JOBS.report_inputs,
        grid="results/{experiment}/grid.csv",
    output:
        directory("results/{experiment}/report"),
    log:
        "results/logs/report/{experiment}.log",
    conda:
        "../../environment.yml"
    resources:
        mem_mb=NEEDS.report_mem_mb,
        runtime=NEEDS.report_runtime,
    params:
        job=JOBS.report,
    message:
        "{output}"
    shell:
        "exec python -m workflow.launch.run_stage pipeline report"
        " --job results/jobs/report/{wildcards.experiment:q}.json"
        " --grid {input.grid:q} --results results --out {output:q}"
        " > {log:q} 2>&1"
