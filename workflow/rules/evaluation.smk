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
        micro_batch_tokens=2048,
    params:
        job=JOBS.job("evals"),
        flags=JOBS.flags("evals"),
    shell:
        "python -m workflow.job pipeline.evaluate {params.job:q} {params.flags:q}"
        " --out {output:q} --micro-batch-tokens {resources.micro_batch_tokens} --threads {threads}"
        " > {log:q} 2>&1"
