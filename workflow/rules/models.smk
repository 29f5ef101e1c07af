# Jobs that run a model: on a GPU where the profile names one.
rule teacher:
    input:
        unpack(JOBS.inputs),
    output:
        directory("results/teachers/{id}"),
    log:
        "results/logs/teachers/{id}.log",
    benchmark:
        "results/benchmarks/teachers/{id}.tsv"
    priority: 2  # what most others wait for
    conda:
        "../../environment.yml"
    threads: REQUESTS.threads
    resources:
        mem_mb=REQUESTS.mem_mb,
        runtime=REQUESTS.runtime,
        disk_mb=REQUESTS.disk_mb,
        slurm_extra=REQUESTS.slurm_extra,
        device=REQUESTS.device,
        ranks=REQUESTS.ranks,
        shard=REQUESTS.shard,
        nodes=REQUESTS.nodes,
        tasks=REQUESTS.tasks,
        tasks_per_gpu=REQUESTS.tasks_per_gpu,
        mpi=REQUESTS.mpi,
        gpu=REQUESTS.gpu,
        cpus_per_task=REQUESTS.cpus_per_task,
        gpu_memory_mb=REQUESTS.gpu_memory_mb,
        micro_batch_tokens=REQUESTS.micro_batch_tokens,
        gradient_checkpointing=REQUESTS.gradient_checkpointing,
    params:
        job=JOBS.digest,
    shell:
        "exec python -m workflow.launch.run_stage {output:q} --threads {threads}"
        " --device {resources.device} --gpu-memory-mb {resources.gpu_memory_mb}"
        " --ranks {resources.ranks} --tasks {resources.nodes} --shard {resources.shard}"
        " --micro-batch-tokens {resources.micro_batch_tokens}"
        " --gradient-checkpointing {resources.gradient_checkpointing} > {log:q} 2>&1"


use rule teacher as teacher_text with:
    output:
        directory("results/texts/{id}"),
    log:
        "results/logs/texts/{id}.log",
    benchmark:
        "results/benchmarks/texts/{id}.tsv"
    priority: 1


use rule teacher as teacher_cache with:
    output:
        directory("results/caches/{id}"),
    log:
        "results/logs/caches/{id}.log",
    benchmark:
        "results/benchmarks/caches/{id}.tsv"
    priority: 1


use rule teacher as start with:
    output:
        directory("results/starts/{id}"),
    log:
        "results/logs/starts/{id}.log",
    benchmark:
        "results/benchmarks/starts/{id}.tsv"
    priority: 0


use rule teacher as student with:
    output:
        directory("results/students/{id}"),
    log:
        "results/logs/students/{id}.log",
    benchmark:
        "results/benchmarks/students/{id}.tsv"
    priority: 0


use rule teacher as evaluation with:
    output:
        directory("results/evals/{id}"),
    log:
        "results/logs/evals/{id}.log",
    benchmark:
        "results/benchmarks/evals/{id}.tsv"
    priority: 0


# Some of the pieces of an artifact that the profile has cut into parts; its own rule joins them
use rule teacher as part with:
    input:
        unpack(JOBS.part_inputs),
    output:
        directory("results/state/{id}/{stage}-part-{part}-of-{parts}"),
    log:
        "results/logs/{stage}/{id}-part-{part}-of-{parts}.log",
    benchmark:
        "results/benchmarks/{stage}/{id}-part-{part}-of-{parts}.tsv"
    priority: 1
