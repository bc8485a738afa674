"""The record of a search: its study in a journal or a database, and what is kept beside it."""
