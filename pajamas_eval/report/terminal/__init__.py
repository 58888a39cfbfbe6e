"""Reports on the terminal: tables and progress."""
