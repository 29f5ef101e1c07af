"""The variables of the environment that tell the ranks of a job apart: torchrun's."""

RANK = "RANK"
VARIABLES = (RANK, "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
