"""The rules of the product as values and pure functions: no I/O, no clock, no chance, no log."""
