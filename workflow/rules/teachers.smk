rule teacher:
    input:
        JOBS.inputs("teachers"),
    output:
        directory("results/teachers/{id}"),
    log:
        "results/logs/teachers/{id}.log",
    benchmark:
        "results/benchmarks/teachers/{id}.tsv"
    priority: 2  # what most others wait for
    conda:
        "../../environment.yml"
    resources:
        micro_batch_tokens=2048,
    params:
        job=JOBS.job("teachers"),
        flags=JOBS.flags("teachers"),
    shell:
        "python -m workflow.job pipeline.distill {params.job:q} {params.flags:q}"
        " --out {output:q} --state results/state/{wildcards.id:q}"
        " --micro-batch-tokens {resources.micro_batch_tokens} --threads {threads}"
        " > {log:q} 2>&1"


rule teacher_text:
    input:
        JOBS.inputs("texts"),
    output:
        directory("results/texts/{id}"),
    log:
        "results/logs/texts/{id}.log",
    benchmark:
        "results/benchmarks/texts/{id}.tsv"
    priority: 1
    conda:
        "../../environment.yml"
    params:
        job=JOBS.job("texts"),
        flags=JOBS.flags("texts"),
    shell:
        "python -m workflow.job pipeline.teacher_text {params.job:q} {params.flags:q}"
        " --out {output:q} --threads {threads}"
        " > {log:q} 2>&1"


rule teacher_cache:
    input:
        JOBS.inputs("caches"),
    output:
        directory("results/caches/{id}"),
    log:
        "results/logs/caches/{id}.log",
    benchmark:
        "results/benchmarks/caches/{id}.tsv"
    priority: 1
    conda:
        "../../environment.yml"
    resources:
        micro_batch_tokens=2048,
    params:
        job=JOBS.job("caches"),
        flags=JOBS.flags("caches"),
    shell:
        "python -m workflow.job pipeline.teacher_cache {params.job:q} {params.flags:q}"
        " --out {output:q} --micro-batch-tokens {resources.micro_batch_tokens} --threads {threads}"
        " > {log:q} 2>&1"
