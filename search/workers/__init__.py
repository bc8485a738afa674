"""Worker processes that train trials, on this machine or on a Ray cluster."""
