"""Training: mmengine's Runner, and what it lacks as hooks: whole checkpoints, exact resuming, best weights, broken pictures."""
