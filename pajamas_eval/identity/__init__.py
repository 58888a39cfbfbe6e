"""Is it the same model? What proves that two files hold one."""
