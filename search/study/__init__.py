"""The study on disk or in a database: the single record of a search."""
