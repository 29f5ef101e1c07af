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
        mem_mb=NEEDS.mem_mb("teachers"),
        runtime=NEEDS.runtime("teachers"),
        slurm_extra=NEEDS.slurm_extra("teachers"),
        disk_mb=NEEDS.disk_mb("teachers"),
        device=NEEDS.device("teachers"),
        gpu_memory_mb=NEEDS.gpu_memory_mb("teachers"),
        micro_batch_tokens=NEEDS.micro_batch_tokens("teachers"),
        gradient_checkpointing=NEEDS.gradient_checkpointing("teachers"),
    params:
        job=JOBS.job("teachers"),
        flags=JOBS.flags("teachers"),
        checkpointing=NEEDS.checkpointing,
    message:
        "{output}"
    shell:
        "exec python -m workflow.launch.run_stage --device {resources.device} --threads {threads}"
        " --gpu-memory-mb {resources.gpu_memory_mb}"
        " pipeline train"
        " --job results/jobs/teachers/{wildcards.id:q}.json {params.flags:q}"
        " --out {output:q} --state results/state/{wildcards.id:q}"
        " --micro-batch-tokens {resources.micro_batch_tokens} --threads {threads}"
        " {params.checkpointing:q}"
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
    resources:
        mem_mb=NEEDS.mem_mb("texts"),
        runtime=NEEDS.runtime("texts"),
        disk_mb=NEEDS.disk_mb("texts"),
        device=NEEDS.device("texts"),
        gpu_memory_mb=NEEDS.gpu_memory_mb("texts"),
    params:
        job=JOBS.job("texts"),
        flags=JOBS.flags("texts"),
    message:
        "{output}"
    shell:
        "exec python -m workflow.launch.run_stage --device {resources.device} --threads {threads}"
        " --gpu-memory-mb {resources.gpu_memory_mb}"
        " pipeline generate"
        " --job results/jobs/texts/{wildcards.id:q}.json {params.flags:q}"
        " --out {output:q} --state results/state/{wildcards.id:q} --threads {threads}"
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
        mem_mb=NEEDS.mem_mb("caches"),
        runtime=NEEDS.runtime("caches"),
        disk_mb=NEEDS.disk_mb("caches"),
        device=NEEDS.device("caches"),
        gpu_memory_mb=NEEDS.gpu_memory_mb("caches"),
        micro_batch_tokens=NEEDS.micro_batch_tokens("caches"),
    params:
        job=JOBS.job("caches"),
        flags=JOBS.flags("caches"),
    message:
        "{output}"
    shell:
        "exec python -m workflow.launch.run_stage --device {resources.device} --threads {threads}"
        " --gpu-memory-mb {resources.gpu_memory_mb}"
        " pipeline cache_teacher"
        " --job results/jobs/caches/{wildcards.id:q}.json {params.flags:q}"
        " --out {output:q} --state results/state/{wildcards.id:q}"
        " --micro-batch-tokens {resources.micro_batch_tokens} --threads {threads}"
        " > {log:q} 2>&1"
