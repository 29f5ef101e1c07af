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
        mem_mb=NEEDS.mem_mb("starts"),
        runtime=NEEDS.runtime("starts"),
        slurm_extra=NEEDS.slurm_extra("starts"),
        disk_mb=NEEDS.disk_mb("starts"),
        device=NEEDS.device("starts"),
        gpu_memory_mb=NEEDS.gpu_memory_mb("starts"),
        micro_batch_tokens=NEEDS.micro_batch_tokens("starts"),
        gradient_checkpointing=NEEDS.gradient_checkpointing("starts"),
    params:
        job=JOBS.job("starts"),
        flags=JOBS.flags("starts"),
        checkpointing=NEEDS.checkpointing,
    message:
        "{output}"
    shell:
        "exec python -m workflow.launch.run_stage --device {resources.device} --threads {threads}"
        " --gpu-memory-mb {resources.gpu_memory_mb}"
        " pipeline train"
        " --job results/jobs/starts/{wildcards.id:q}.json {params.flags:q}"
        " --out {output:q} --state results/state/{wildcards.id:q}"
        " --micro-batch-tokens {resources.micro_batch_tokens} --threads {threads}"
        " {params.checkpointing:q}"
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
        mem_mb=NEEDS.mem_mb("students"),
        runtime=NEEDS.runtime("students"),
        slurm_extra=NEEDS.slurm_extra("students"),
        disk_mb=NEEDS.disk_mb("students"),
        device=NEEDS.device("students"),
        gpu_memory_mb=NEEDS.gpu_memory_mb("students"),
        micro_batch_tokens=NEEDS.micro_batch_tokens("students"),
        gradient_checkpointing=NEEDS.gradient_checkpointing("students"),
    params:
        job=JOBS.job("students"),
        flags=JOBS.flags("students"),
        checkpointing=NEEDS.checkpointing,
    message:
        "{output}"
    shell:
        "exec python -m workflow.launch.run_stage --device {resources.device} --threads {threads}"
        " --gpu-memory-mb {resources.gpu_memory_mb}"
        " pipeline train"
        " --job results/jobs/students/{wildcards.id:q}.json {params.flags:q}"
        " --out {output:q} --state results/state/{wildcards.id:q}"
        " --micro-batch-tokens {resources.micro_batch_tokens} --threads {threads}"
        " {params.checkpointing:q}"
        " > {log:q} 2>&1"
