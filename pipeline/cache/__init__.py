"""Reading a teacher cache: what `pipeline.teacher_cache` wrote, as the signal of a teacher."""
