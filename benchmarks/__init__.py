"""Records of what runs measured, the tables and bars that read them, and trials of faults."""
