"""One loss a file, each with a frozen dataclass `Loss`: its fields are the hyperparameters.

`Loss()(teacher, student, tokens)` gives the loss of each token in nats; the training loop alone
masks, sums and divides. A loss may have two more methods:

- `score(teacher, student, tokens)`: a number for each token; `tokens.step_scores` then holds it
  for all tokens of the optimizer step, for what is defined over the step (medians, ranks,
  whitening). It is computed without gradient.
- `advance(state, loss_nats, progress)`: what to carry to the next step; `initial_state()` begins.
"""
