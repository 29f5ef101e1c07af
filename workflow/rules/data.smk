# Jobs of the CPU. Inputs are by role, as in the flags of `python -m pipeline STAGE --help`; the job
# itself is in results/jobs/FOLDER/ID.json, of which `digest` is the rerun trigger.
rule tokenizer:
    input:
        unpack(JOBS.inputs),
    output:
        directory("results/tokenizers/{id}"),
    log:
        "results/logs/tokenizers/{id}.log",
    benchmark:
        "results/benchmarks/tokenizers/{id}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=REQUESTS.mem_mb,
        runtime=REQUESTS.runtime,
        disk_mb=REQUESTS.disk_mb,
    params:
        job=JOBS.digest,
    shell:
        "exec python -m workflow.launch.run_stage {output:q} --threads {threads} > {log:q} 2>&1"


use rule tokenizer as data with:
    output:
        directory("results/data/{id}"),
    log:
        "results/logs/data/{id}.log",
    benchmark:
        "results/benchmarks/data/{id}.tsv"


use rule tokenizer as tokens with:
    output:
        directory("results/tokens/{id}"),
    log:
        "results/logs/tokens/{id}.log",
    benchmark:
        "results/benchmarks/tokens/{id}.tsv"


use rule tokenizer as alignment with:
    output:
        directory("results/alignments/{id}"),
    log:
        "results/logs/alignments/{id}.log",
    benchmark:
        "results/benchmarks/alignments/{id}.tsv"


use rule tokenizer as model with:
    output:
        directory("results/models/{id}"),
    log:
        "results/logs/models/{id}.log",
    benchmark:
        "results/benchmarks/models/{id}.tsv"


use rule tokenizer as choice with:
    output:
        directory("results/choices/{id}"),
    log:
        "results/logs/choices/{id}.log",
    benchmark:
        "results/benchmarks/choices/{id}.tsv"


use rule tokenizer as task with:
    output:
        directory("results/tasks/{id}"),
    log:
        "results/logs/tasks/{id}.log",
    benchmark:
        "results/benchmarks/tasks/{id}.tsv"
