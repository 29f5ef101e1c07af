rule task:
    input:
        JOBS.inputs("tasks"),
    output:
        directory("results/tasks/{id}"),
    log:
        "results/logs/tasks/{id}.log",
    benchmark:
        "results/benchmarks/tasks/{id}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=NEEDS.mem_mb("tasks"),
        runtime=NEEDS.runtime("tasks"),
        disk_mb=NEEDS.disk_mb("tasks"),
    params:
        job=JOBS.job("tasks"),
        flags=JOBS.flags("tasks"),
    message:
        "{output}"
    shell:
        "exec python -m workflow.launch.run_stage pipeline prepare_task"
        " --job results/jobs/tasks/{wildcards.id:q}.json {params.flags:q}"
        " --out {output:q}"
        " > {log:q} 2>&1"
