rule start:
    input:
        JOBS.inputs("starts"),
    output:
        directory("results/starts/{id}"),
    log:
        "results/logs/starts/{id}.log",
    benchmark:
        "results/benchmarks/starts/{id}.tsv"
    conda:
        "../../environment.yml"
    resources:
        micro_batch_tokens=2048,
    params:
        job=JOBS.job("starts"),
        flags=JOBS.flags("starts"),
    shell:
        "python -m workflow.job pipeline.distill {params.job:q} {params.flags:q}"
        " --out {output:q} --state results/state/{wildcards.id:q}"
        " --micro-batch-tokens {resources.micro_batch_tokens} --threads {threads}"
        " > {log:q} 2>&1"


rule student:
    input:
        JOBS.inputs("students"),
    output:
        directory("results/students/{id}"),
    log:
        "results/logs/students/{id}.log",
    benchmark:
        "results/benchmarks/students/{id}.tsv"
    conda:
        "../../environment.yml"
    resources:
        micro_batch_tokens=2048,
    params:
        job=JOBS.job("students"),
        flags=JOBS.flags("students"),
    shell:
        "python -m workflow.job pipeline.distill {params.job:q} {params.flags:q}"
        " --out {output:q} --state results/state/{wildcards.id:q}"
        " --micro-batch-tokens {resources.micro_batch_tokens} --threads {threads}"
        " > {log:q} 2>&1"
