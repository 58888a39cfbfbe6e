"""Whether two files hold one model."""
