"""The student report: its claims, checked against measurements."""
