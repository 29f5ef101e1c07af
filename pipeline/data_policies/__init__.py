"""Whose text a step trains on: one policy a file, each with a frozen dataclass `Policy`.

`Policy().texts(drawn, turn)` gives the texts of an optimizer step, from the texts that were drawn
for it. A newly written text carries log-probabilities and the count of the teacher's tokens,
which is how a step's record knows of it. What a policy carries from step to step lives in
`turn.state`, which is saved with the rest of the training state: plain lists, dicts, numbers and
strings. All chance comes from `turn.rng` and `turn.seed`. A policy may have one more method,
`validated(state, nll_nats)`, called with the held-out NLL each time it is measured. One whose texts
don't depend on what was trained before says `known_ahead = True`, and is asked ahead of time.
"""
