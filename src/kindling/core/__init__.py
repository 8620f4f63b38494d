"""What every room builds on: errors, whole files, names of parts, and what is wrong in a config."""
