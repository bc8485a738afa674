"""After the search: retrain, measure once on the test split, compare, and write it all down."""
