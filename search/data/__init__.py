"""Read the images: files, formats, and the split into training and validation parts."""
