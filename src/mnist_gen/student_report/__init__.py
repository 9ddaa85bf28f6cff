"""The claims of the student report, held against measurements."""
