"""The other engine: KerasTuner's oracles propose the trials of a search."""
