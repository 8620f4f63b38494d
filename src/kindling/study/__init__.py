"""A study: the runs of one search for better settings, shared by any number of workers."""
