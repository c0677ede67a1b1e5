"""Methods that look at how scores change when activations or inputs do."""
