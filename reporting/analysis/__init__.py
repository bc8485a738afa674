"""Numbers of the chapters: what a search and its models tell, worked out."""
