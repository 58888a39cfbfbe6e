"""What people see: tables, sentences, progress. Nothing is computed here."""
