"""What is recorded in a network, or done to it and undone afterwards."""
