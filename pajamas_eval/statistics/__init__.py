"""Pure functions over arrays: numbers in, numbers out. Every function cites its source."""
