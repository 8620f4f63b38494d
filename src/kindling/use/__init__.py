"""A trained model at work: predictions from raw inputs."""
