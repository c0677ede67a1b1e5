"""Train with mmengine's Runner; hooks add atomic checkpoints, exact resuming, restoring the best weights, skipping broken images."""
