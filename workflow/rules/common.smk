from workflow.jobs import Jobs

JOBS = Jobs.of(config)


wildcard_constraints:
    id="[A-Za-z0-9_.-]+",
    experiment="[a-z][a-z0-9_]*",
