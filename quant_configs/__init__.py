"""Quant configs: one TOML recipe a file, saying how a variant is made."""
