rule model:
    input:
        JOBS.inputs("models"),
    output:
        directory("results/models/{id}"),
    log:
        "results/logs/models/{id}.log",
    benchmark:
        "results/benchmarks/models/{id}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=NEEDS.mem_mb("models"),
        runtime=NEEDS.runtime("models"),
        disk_mb=NEEDS.disk_mb("models"),
    params:
        job=JOBS.job("models"),
        flags=JOBS.flags("models"),
    message:
        "{output}"
    shell:
        "exec python -m workflow.launch.run_stage pipeline prepare_model"
        " --job results/jobs/models/{wildcards.id:q}.json {params.flags:q}"
        " --out {output:q}"
        " > {log:q} 2>&1"
