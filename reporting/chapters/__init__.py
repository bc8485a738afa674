"""The chapters of a report, one module each: `section(evidence)` writes words, tables, figures."""
