"""This project: what one changes for a problem of one's own. A new file here is at once a name for YAML and flags."""
