"""Two tokenizations of the same text: the spans they share, and a teacher of another vocabulary."""
