"""This project: what you change for your own problem. The classes in a new file here can be named in YAML and flags."""
