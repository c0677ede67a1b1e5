"""Methods around another method: they ask it about other inputs."""
