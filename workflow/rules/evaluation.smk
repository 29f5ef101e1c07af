rule evaluation:
    input:
        JOBS.inputs("evals"),
    output:
        directory("results/evals/{id}"),
    log:
        "results/logs/evals/{id}.log",
    benchmark:
        "results/benchmarks/evals/{id}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=NEEDS.mem_mb("evals"),
        runtime=NEEDS.runtime("evals"),
        disk_mb=NEEDS.disk_mb("evals"),
        device=NEEDS.device("evals"),
        gpu_memory_mb=NEEDS.gpu_memory_mb("evals"),
        micro_batch_tokens=NEEDS.micro_batch_tokens("evals"),
    params:
        job=JOBS.job("evals"),
        flags=JOBS.flags("evals"),
    message:
        "{output}"
    shell:
        "exec python -m workflow.launch.run_stage --device {resources.device} --threads {threads}"
        " --gpu-memory-mb {resources.gpu_memory_mb}"
        " pipeline evaluate"
        " --job results/jobs/evals/{wildcards.id:q}.json {params.flags:q}"
        " --out {output:q} --state results/state/{wildcards.id:q}"
        " --micro-batch-tokens {resources.micro_batch_tokens} --threads {threads}"
        " > {log:q} 2>&1"
