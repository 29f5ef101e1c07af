"""What a checkpoint may be asked: a file for each task, and how their items are found."""
