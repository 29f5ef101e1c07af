"""The items of a task, all in one place, with their origin and a digest."""
