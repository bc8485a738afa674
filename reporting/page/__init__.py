"""A report as a document, and the files that it is written to."""
