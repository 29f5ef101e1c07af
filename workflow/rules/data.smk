rule data:
    input:
        JOBS.inputs("data"),
    output:
        directory("results/data/{id}"),
    log:
        "results/logs/data/{id}.log",
    benchmark:
        "results/benchmarks/data/{id}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=NEEDS.mem_mb("data"),
        runtime=NEEDS.runtime("data"),
        disk_mb=NEEDS.disk_mb("data"),
    params:
        job=JOBS.job("data"),
        flags=JOBS.flags("data"),
    message:
        "{output}"
    shell:
        "exec python -m workflow.launch.run_stage pipeline prepare_data"
        " --job results/jobs/data/{wildcards.id:q}.json {params.flags:q}"
        " --out {output:q}"
        " > {log:q} 2>&1"


rule tokenizer:
    input:
        JOBS.inputs("tokenizers"),
    output:
        directory("results/tokenizers/{id}"),
    log:
        "results/logs/tokenizers/{id}.log",
    benchmark:
        "results/benchmarks/tokenizers/{id}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=NEEDS.mem_mb("tokenizers"),
        runtime=NEEDS.runtime("tokenizers"),
        disk_mb=NEEDS.disk_mb("tokenizers"),
    params:
        job=JOBS.job("tokenizers"),
        flags=JOBS.flags("tokenizers"),
    message:
        "{output}"
    shell:
        "exec python -m workflow.launch.run_stage pipeline train_tokenizer"
        " --job results/jobs/tokenizers/{wildcards.id:q}.json {params.flags:q}"
        " --out {output:q}"
        " > {log:q} 2>&1"


rule tokens:
    input:
        JOBS.inputs("tokens"),
    output:
        directory("results/tokens/{id}"),
    log:
        "results/logs/tokens/{id}.log",
    benchmark:
        "results/benchmarks/tokens/{id}.tsv"
    conda:
        "../../environment.yml"
    resources:
        mem_mb=NEEDS.mem_mb("tokens"),
        runtime=NEEDS.runtime("tokens"),
        disk_mb=NEEDS.disk_mb("tokens"),
    params:
        job=JOBS.job("tokens"),
        flags=JOBS.flags("tokens"),
    message:
        "{output}"
    shell:
        "exec python -m workflow.launch.run_stage pipeline tokenize"
        " --job results/jobs/tokens/{wildcards.id:q}.json {params.flags:q}"
        " --out {output:q}"
        " > {log:q} 2>&1"
