"""The release gate: what a variant must hold to be released, and whether it does."""
