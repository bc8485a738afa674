"""Compare this project's search with other libraries, on one space, one split and one budget."""
